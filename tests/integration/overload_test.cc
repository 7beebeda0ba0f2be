#include <gmock/gmock.h>

#include <chrono>
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
using testing::ServerProcess;
using testing::StartClassify;
using testing::StartClassifyBatch;
using testing::TestSet;

constexpr char kCancelled[] = R"(vit_dropped_images_total{reason="cancelled"})";
constexpr char kExpired[] = R"(vit_dropped_images_total{reason="expired"})";

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
  constexpr int kLongBatch = 5000;
  constexpr int kCalls = 20;
  ServerProcess server(
      {"--workers=1", "--max_batch_size=1", "--max_queue_size=6000"});
  ASSERT_TRUE(server.ready());
  // Keeps the only worker busy for a second.
  const auto before =
      StartClassifyBatch(server.stub(), TestSet::Get().image(0), kLongBatch);
  ASSERT_TRUE(server.WaitForMetric("vit_queue_depth", 1));
  for (const auto& call :
       StartCalls(server, kCalls, std::chrono::milliseconds(100))) {
    EXPECT_EQ(call->Wait().error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  }
  const grpc::Status status = before->Wait();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_TRUE(
      server.WaitForMetric(Requests("Classify", "DEADLINE_EXCEEDED"), kCalls));
  EXPECT_EQ(server.Metric(kExpired), kCalls);
  EXPECT_EQ(server.Metric(kCancelled), 0);
  EXPECT_EQ(server.Metric(Requests("Classify", "CANCELLED")), 0);
  EXPECT_EQ(server.Metric("vit_images_total"), kLongBatch);
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
