#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <signal.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/integration/background_call.h"
#include "tests/integration/server_process.h"
#include "tests/integration/test_set.h"

// How the server ends.
namespace vit {
namespace {

using testing::BackgroundClassify;
using testing::BackgroundClassifyBatch;
using ::testing::HasSubstr;
using testing::NewChannel;
using testing::ServerProcess;
using testing::SetPatience;
using testing::StartClassify;
using testing::StartClassifyBatch;
using testing::TestSet;
using testing::WaitUntil;

// One worker that waits long for a full batch: what is sent stays queued until
// the server has a reason to hurry.
const std::vector<std::string>& PatientServer() {
  static const auto& flags = *new std::vector<std::string>{
      "--workers=1", "--max_batch_size=101", "--max_queue_delay_us=10000000"};
  return flags;
}

// One worker that computes image by image, and a call that takes it a second.
const std::vector<std::string>& SlowServer() {
  static const auto& flags = *new std::vector<std::string>{
      "--workers=1", "--max_batch_size=1", "--precision=f32",
      "--max_queue_size=15000", "--max_images_per_call=15000"};
  return flags;
}
constexpr int kLongBatch = 15000;

std::unique_ptr<BackgroundClassifyBatch> StartLongCall(
    const ServerProcess& server) {
  auto call =
      StartClassifyBatch(server.stub(), TestSet::Get().image(0), kLongBatch);
  EXPECT_TRUE(server.WaitForMetric("vit_queue_depth", 1));
  return call;
}

TEST(LifecycleTest, AnIdleServerEndsWithZeroOnEitherSignal) {
  for (const int signal : {SIGTERM, SIGINT}) {
    ServerProcess server;
    ASSERT_TRUE(server.ready());
    server.Signal(signal);
    EXPECT_EQ(server.Wait(), 0) << server.process().output();
    EXPECT_THAT(server.process().output(), HasSubstr("all done"));
  }
}

TEST(LifecycleTest, WhatIsQueuedWhenTheSignalComesIsAnsweredAtOnce) {
  constexpr int kCalls = 100;
  ServerProcess server(PatientServer());
  ASSERT_TRUE(server.ready());
  std::vector<std::unique_ptr<BackgroundClassify>> calls;
  for (int i = 0; i < kCalls; ++i) {
    calls.push_back(StartClassify(server.stub(), TestSet::Get().image(i)));
  }
  ASSERT_TRUE(server.WaitForMetric("vit_queue_depth", kCalls));
  ASSERT_EQ(server.Metric("vit_images_total"), 0);
  EXPECT_EQ(server.Terminate(), 0) << server.process().output();
  int correct = 0;
  for (int i = 0; i < kCalls; ++i) {
    const grpc::Status status = calls[i]->Wait();
    EXPECT_TRUE(status.ok()) << i << ": " << status.error_message();
    // Nobody can come any more to fill the batch.
    EXPECT_LT(calls[i]->response().timing().queue_seconds(), 5);
    const int label = calls[i]->response().label();
    correct += label == TestSet::Get().label(i) ? 1 : 0;
  }
  EXPECT_GE(correct, 98);
}

TEST(LifecycleTest, AStreamsQueuedImagesAreAnsweredBeforeItEnds) {
  constexpr int kImages = 40;
  ServerProcess server(PatientServer());
  ASSERT_TRUE(server.ready());
  grpc::ClientContext context;
  SetPatience(&context);
  const auto stream = server.stub().ClassifyStream(&context);
  v1::ClassifyStreamRequest request;
  for (int i = 0; i < kImages; ++i) {
    request.set_id(i);
    request.set_image(TestSet::Get().image(i));
    ASSERT_TRUE(stream->Write(request));
  }
  ASSERT_TRUE(server.WaitForMetric("vit_queue_depth", kImages));
  server.Signal(SIGTERM);
  std::set<uint64_t> answered;
  v1::ClassifyStreamResponse answer;
  while (stream->Read(&answer)) {
    EXPECT_TRUE(answer.has_response()) << answer.error().message();
    EXPECT_TRUE(answered.insert(answer.id()).second) << answer.id();
  }
  EXPECT_EQ(answered.size(), kImages);
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(status.error_message(), "server is shutting down");
  EXPECT_EQ(server.Wait(), 0) << server.process().output();
}

TEST(LifecycleTest, WhileItDrainsTheServerIsNotReadyAndRefusesNewCalls) {
  ServerProcess server(SlowServer());
  ASSERT_TRUE(server.ready());
  const auto accepted = StartLongCall(server);
  server.Signal(SIGTERM);
  EXPECT_TRUE(
      WaitUntil([&] { return server.HttpGet("/readyz").status != 200; }));
  EXPECT_EQ(server.HttpGet("/readyz").status, 503);
  EXPECT_EQ(server.HttpGet("/healthz").status, 200);
  // Not ready is said before new calls are refused.
  v1::ClassifyResponse response;
  grpc::Status refused;
  EXPECT_TRUE(WaitUntil([&] {
    refused = server.Classify(TestSet::Get().image(0), &response);
    return !refused.ok();
  }));
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(refused.error_message(), "server is shutting down");
  grpc::ClientContext context;
  SetPatience(&context);
  grpc::health::v1::HealthCheckResponse health;
  EXPECT_TRUE(grpc::health::v1::Health::NewStub(server.channel())
                  ->Check(&context, {}, &health)
                  .ok());
  EXPECT_EQ(health.status(),
            grpc::health::v1::HealthCheckResponse::NOT_SERVING);
  const grpc::Status status = accepted->Wait();
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(accepted->response().results_size(), kLongBatch);
  EXPECT_EQ(server.Wait(), 0) << server.process().output();
}

// Calls one after the other on a connection of its own until one fails.
std::map<grpc::StatusCode, int> CallUntilFailure(const std::string& address) {
  const auto stub = v1::Classifier::NewStub(NewChannel(address));
  v1::ClassifyRequest request;
  request.set_image(TestSet::Get().image(0));
  std::map<grpc::StatusCode, int> answers;
  grpc::Status status;
  while (status.ok()) {
    grpc::ClientContext context;
    SetPatience(&context);
    v1::ClassifyResponse response;
    status = stub->Classify(&context, request, &response);
    ++answers[status.error_code()];
  }
  return answers;
}

TEST(LifecycleTest, UnderLoadEveryCallIsAnsweredOrRefusedAsUnavailable) {
  constexpr int kClients = 16;
  ServerProcess server;
  ASSERT_TRUE(server.ready());
  std::vector<std::map<grpc::StatusCode, int>> answers(kClients);
  std::vector<std::thread> clients;
  clients.reserve(kClients);
  for (auto& mine : answers) {
    clients.emplace_back(
        [&server, &mine] { mine = CallUntilFailure(server.grpc_address()); });
  }
  EXPECT_TRUE(server.WaitForMetric(
      R"(vit_requests_total{code="OK",method="Classify"})", 1000));
  EXPECT_EQ(server.Terminate(), 0) << server.process().output();
  for (std::thread& client : clients) client.join();
  std::map<grpc::StatusCode, int> sum;
  for (const auto& mine : answers) {
    for (const auto& [code, count] : mine) sum[code] += count;
  }
  EXPECT_GE(sum[grpc::StatusCode::OK], 1000);
  EXPECT_EQ(sum[grpc::StatusCode::UNAVAILABLE], kClients);
  EXPECT_THAT(sum, ::testing::SizeIs(2)) << "other codes than these came";
}

TEST(LifecycleTest, ASecondSignalEndsTheServerAtOnce) {
  ServerProcess server(SlowServer());
  ASSERT_TRUE(server.ready());
  const auto call = StartLongCall(server);
  server.Signal(SIGTERM);
  ASSERT_NE(server.process().WaitForLine("finishing what was accepted"), "");
  server.Signal(SIGTERM);
  EXPECT_EQ(server.Wait(), 1) << server.process().output();
  EXPECT_THAT(server.process().output(),
              HasSubstr("second signal: leaving at once"));
  EXPECT_EQ(call->Wait().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST(LifecycleTest, WorkThatOutlastsTheDrainTimeoutIsCutOffAndIsAFailure) {
  std::vector<std::string> flags = SlowServer();
  flags.emplace_back("--drain_timeout_seconds=0");
  ServerProcess server(flags);
  ASSERT_TRUE(server.ready());
  const auto call = StartLongCall(server);
  EXPECT_EQ(server.Terminate(), 1);
  EXPECT_THAT(server.process().output(),
              HasSubstr("cut off after --drain_timeout_seconds=0"));
  EXPECT_FALSE(call->Wait().ok());
}

}  // namespace
}  // namespace vit
