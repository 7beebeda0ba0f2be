#include <gmock/gmock.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/integration/background_call.h"
#include "tests/integration/server_process.h"
#include "tests/integration/test_set.h"

// More work than the server can do, and work that nobody waits for any more.
namespace vit {
namespace {

using testing::BackgroundClassify;
using testing::BackgroundClassifyBatch;
using ::testing::HasSubstr;
using testing::ServerProcess;
using testing::StartClassify;
using testing::StartClassifyBatch;
using testing::TestSet;
using testing::WaitUntil;

constexpr char kCancelled[] = R"(vit_dropped_images_total{reason="cancelled"})";
constexpr char kExpired[] = R"(vit_dropped_images_total{reason="expired"})";
constexpr char kLate[] = R"(vit_rejected_images_total{reason="late"})";
constexpr char kPushback[] = "grpc-retry-pushback-ms";

std::string Requests(const std::string& method, const std::string& code) {
  return "vit_requests_total{code=\"" + code + "\",method=\"" + method + "\"}";
}

std::vector<std::unique_ptr<BackgroundClassify>> StartCalls(
    const ServerProcess& server, int count,
    std::chrono::milliseconds timeout = testing::kPatience) {
  std::vector<std::unique_ptr<BackgroundClassify>> calls;
  for (int i = 0; i < count; ++i) {
    calls.push_back(
        StartClassify(server.stub(), TestSet::Get().image(i), timeout));
  }
  return calls;
}

void ExpectHealthy(const ServerProcess& server) {
  v1::ClassifyResponse response;
  const grpc::Status status =
      server.Classify(TestSet::Get().image(0), &response);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.label(), TestSet::Get().label(0));
  EXPECT_EQ(server.HttpGet("/readyz").status, 200);
  EXPECT_EQ(server.Metric("vit_queue_depth"), 0);
}

TEST(OverloadTest, WhatDoesNotFitIntoTheQueueIsRejectedAtOnce) {
  // 30 images wait for a batch of 32, of the 32 that may wait.
  ServerProcess server({"--workers=1", "--max_batch_size=32",
                        "--max_queue_size=32", "--max_queue_delay_us=5000000"});
  ASSERT_TRUE(server.ready());
  const auto waiting = StartCalls(server, 30);
  ASSERT_TRUE(server.WaitForMetric("vit_queue_depth", 30));
  const grpc::Status rejected =
      StartClassifyBatch(server.stub(), TestSet::Get().image(0), 3)->Wait();
  EXPECT_EQ(rejected.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(rejected.error_message(),
            "queue is full: 30 of 32 places taken, 3 needed");
  EXPECT_EQ(server.Metric("vit_images_total"), 0);
  // Two still fit, fill the batch and so set all free.
  const grpc::Status fitting =
      StartClassifyBatch(server.stub(), TestSet::Get().image(0), 2)->Wait();
  EXPECT_TRUE(fitting.ok()) << fitting.error_message();
  for (const auto& call : waiting) {
    const grpc::Status status = call->Wait();
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(call->response().timing().batch_size(), 32);
  }
  EXPECT_EQ(server.Metric("vit_images_total"), 32);
}

TEST(OverloadTest, InAFloodEveryCallIsAnsweredOrRejectedAndTheServerGoesOn) {
  constexpr int kCalls = 200;
  constexpr int kImages = 64;
  // Each call takes the whole queue.
  ServerProcess server(
      {"--workers=1", "--max_batch_size=1", "--max_queue_size=64"});
  ASSERT_TRUE(server.ready());
  std::vector<std::unique_ptr<BackgroundClassifyBatch>> calls;
  for (int i = 0; i < kCalls; ++i) {
    calls.push_back(
        StartClassifyBatch(server.stub(), TestSet::Get().image(i), kImages));
  }
  std::map<grpc::StatusCode, int> answers;
  for (const auto& call : calls) {
    const grpc::Status status = call->Wait();
    ++answers[status.error_code()];
    EXPECT_EQ(call->response().results_size(), status.ok() ? kImages : 0);
  }
  const int ok = answers[grpc::StatusCode::OK];
  const int rejected = answers[grpc::StatusCode::RESOURCE_EXHAUSTED];
  EXPECT_GT(ok, 0);
  EXPECT_GT(rejected, 0);
  EXPECT_EQ(ok + rejected, kCalls);
  EXPECT_EQ(server.Metric(Requests("ClassifyBatch", "OK")), ok);
  EXPECT_EQ(server.Metric(Requests("ClassifyBatch", "RESOURCE_EXHAUSTED")),
            rejected);
  EXPECT_EQ(server.Metric("vit_images_total"), ok * kImages);
  ExpectHealthy(server);
}

TEST(OverloadTest, CallsCancelledInTheQueueAreCountedAndNotComputed) {
  // What is queued is taken after two seconds.
  ServerProcess server(
      {"--workers=1", "--max_batch_size=64", "--max_queue_delay_us=2000000"});
  ASSERT_TRUE(server.ready());
  const auto calls = StartCalls(server, 10);
  ASSERT_TRUE(server.WaitForMetric("vit_queue_depth", 10));
  for (int i = 0; i < 4; ++i) {
    calls[i]->Cancel();
    EXPECT_EQ(calls[i]->Wait().error_code(), grpc::StatusCode::CANCELLED);
  }
  for (int i = 4; i < 10; ++i) {
    const grpc::Status status = calls[i]->Wait();
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(calls[i]->response().timing().batch_size(), 6);
  }
  EXPECT_EQ(server.Metric(kCancelled), 4);
  EXPECT_EQ(server.Metric(kExpired), 0);
  EXPECT_EQ(server.Metric("vit_images_total"), 6);
  EXPECT_TRUE(server.WaitForMetric(Requests("Classify", "CANCELLED"), 4));
  EXPECT_TRUE(server.WaitForMetric(Requests("Classify", "OK"), 6));
  ExpectHealthy(server);
}

TEST(OverloadTest, CallsThatExpireInTheQueueAreCountedAndNotComputed) {
  constexpr int kCalls = 20;
  // What is queued is taken half-way to its deadline; but the server is stopped
  // before, and goes on when it has passed.
  ServerProcess server(
      {"--workers=1", "--max_batch_size=64", "--max_queue_delay_us=10000000"});
  ASSERT_TRUE(server.ready());
  const auto calls =
      StartCalls(server, kCalls, std::chrono::milliseconds(3000));
  ASSERT_TRUE(server.WaitForMetric("vit_queue_depth", kCalls));
  server.Signal(SIGSTOP);
  for (const auto& call : calls) {
    EXPECT_EQ(call->Wait().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  }
  // The server's deadline is a little later: on the wire a timeout of seconds
  // is rounded up to hundredths, and it begins when the call has arrived.
  const auto passed =
      std::chrono::steady_clock::now() + std::chrono::milliseconds(100);
  EXPECT_TRUE(
      WaitUntil([&] { return std::chrono::steady_clock::now() >= passed; }));
  server.Signal(SIGCONT);
  EXPECT_TRUE(
      server.WaitForMetric(Requests("Classify", "DEADLINE_EXCEEDED"), kCalls));
  EXPECT_EQ(server.Metric(kExpired), kCalls);
  EXPECT_EQ(server.Metric(kCancelled), 0);
  EXPECT_EQ(server.Metric(Requests("Classify", "CANCELLED")), 0);
  EXPECT_EQ(server.Metric("vit_images_total"), 0);
}

// Lets a server with one worker learn what full batches cost, and returns how
// long `images` images take it.
std::chrono::milliseconds LearnedDuration(const ServerProcess& server,
                                          int max_batch_size, int images) {
  EXPECT_TRUE(StartClassifyBatch(server.stub(), TestSet::Get().image(0), 800)
                  ->Wait()
                  .ok());
  const double seconds =
      server.Metric("vit_batch_image_cost_seconds") +
      server.Metric("vit_batch_fixed_cost_seconds") / max_batch_size;
  EXPECT_GT(seconds, 0);
  return std::chrono::ceil<std::chrono::milliseconds>(
      std::chrono::duration<double>(seconds * images));
}

TEST(OverloadTest, WhatWouldBeLateIsRejectedAtOnce) {
  constexpr int kLongBatch = 5000;
  ServerProcess server({"--workers=1", "--max_batch_size=1",
                        "--max_queue_size=6000", "--max_images_per_call=6000"});
  ASSERT_TRUE(server.ready());
  const std::chrono::milliseconds timeout =
      LearnedDuration(server, 1, kLongBatch / 4);
  // Again if something stopped this test for so long that the call came late.
  int rejected = 0;
  EXPECT_TRUE(WaitUntil([&] {
    const auto before =
        StartClassifyBatch(server.stub(), TestSet::Get().image(0), kLongBatch);
    EXPECT_TRUE(server.WaitForMetric("vit_queue_depth", 1));
    const auto call =
        StartClassify(server.stub(), TestSet::Get().image(0), timeout);
    const grpc::Status status = call->Wait();
    if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {
      ++rejected;
      EXPECT_THAT(status.error_message(), HasSubstr("would be late"));
      // Waiting could only make it later.
      EXPECT_EQ(call->Trailer(kPushback), "");
    }
    EXPECT_TRUE(before->Wait().ok());
    return rejected > 0 || ::testing::Test::HasFailure();
  }));
  EXPECT_EQ(server.Metric(kLate), 1);
  EXPECT_EQ(server.Metric(Requests("Classify", "RESOURCE_EXHAUSTED")), 1);
  ExpectHealthy(server);
}

// Twenty times as much as can be done within the deadline comes at once, again
// and again.
TEST(OverloadTest, BeyondItsCapacityTheServerAnswersOrRejectsEarly) {
  constexpr int kRounds = 5;
  constexpr int kCalls = 100;
  constexpr int kImages = 64;
  ServerProcess server({"--workers=1", "--max_batch_size=8",
                        "--max_queue_size=10000", "--max_images_per_call=800",
                        "--memory_budget_mb=2000"});
  ASSERT_TRUE(server.ready());
  const std::chrono::milliseconds timeout =
      LearnedDuration(server, 8, kCalls * kImages / 20);
  std::map<grpc::StatusCode, int> answers;
  for (int round = 0; round < kRounds; ++round) {
    std::vector<std::unique_ptr<BackgroundClassifyBatch>> calls;
    for (int i = 0; i < kCalls; ++i) {
      calls.push_back(StartClassifyBatch(server.stub(), TestSet::Get().image(i),
                                         kImages, timeout));
    }
    for (const auto& call : calls) {
      const grpc::Status status = call->Wait();
      ++answers[status.error_code()];
      EXPECT_EQ(call->response().results_size(), status.ok() ? kImages : 0);
      if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) {
        // Waiting could only make it later.
        EXPECT_EQ(call->Trailer(kPushback), "");
      }
    }
  }
  // A client may give up before the server's answer reaches it, or the call the
  // server; nothing else happens.
  const int ok = answers[grpc::StatusCode::OK];
  const int rejected = answers[grpc::StatusCode::RESOURCE_EXHAUSTED];
  const int given_up = answers[grpc::StatusCode::DEADLINE_EXCEEDED];
  EXPECT_GT(ok, 0);
  EXPECT_GT(rejected, 0);
  EXPECT_EQ(ok + rejected + given_up, kRounds * kCalls);
  EXPECT_GE(server.Metric(Requests("ClassifyBatch", "OK")), ok);
  EXPECT_GE(server.Metric(kLate), rejected * kImages);
  EXPECT_EQ(
      server.Metric(kLate),
      server.Metric(Requests("ClassifyBatch", "RESOURCE_EXHAUSTED")) * kImages);
  ASSERT_TRUE(WaitUntil([&] { return server.Metric("vit_queue_depth") == 0; }));
  ExpectHealthy(server);
}

// A deadline shorter than the queue's delay does not expire waiting for
// company.
TEST(OverloadTest, ADelayLongerThanTheDeadlineDoesNotCostTheAnswer) {
  ServerProcess server({"--workers=1", "--max_queue_delay_us=10000000"});
  ASSERT_TRUE(server.ready());
  const auto call = StartClassify(server.stub(), TestSet::Get().image(0),
                                  std::chrono::milliseconds(2000));
  const grpc::Status status = call->Wait();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_GE(call->response().timing().queue_seconds(), 0.9);
}

}  // namespace
}  // namespace vit
