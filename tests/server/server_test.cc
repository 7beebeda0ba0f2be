#include "server/server.h"

#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>

#include <chrono>
#include <future>
#include <new>
#include <numeric>
#include <thread>
#include <vector>

#include "tests/server/server_fixture.h"

namespace vit {
namespace {

using testing::FakeImage;
using ::testing::HasSubstr;
using testing::HttpAnswer;
using ::testing::StartsWith;

class ServerTest : public testing::ServerFixture {
 protected:
  // Calls any method with any bytes.
  grpc::Status Raw(const std::string& method, const std::string& bytes,
                   grpc::ClientContext* context) {
    grpc::GenericStub stub(channel_);
    grpc::CompletionQueue queue;
    const grpc::Slice slice(bytes);
    const grpc::ByteBuffer request(&slice, 1);
    const auto call = stub.PrepareUnaryCall(context, method, request, &queue);
    grpc::ByteBuffer response;
    grpc::Status status;
    call->StartCall();
    call->Finish(&response, &status, nullptr);
    void* tag = nullptr;
    bool ok = false;
    EXPECT_TRUE(queue.Next(&tag, &ok));
    return status;
  }
};

// A call that runs beside the test.
struct BackgroundCall {
  grpc::ClientContext context;
  v1::ClassifyResponse response;
  std::future<grpc::Status> status;
};

std::unique_ptr<BackgroundCall> StartCall(v1::Classifier::Stub* stub,
                                          const v1::ClassifyRequest& request) {
  auto call = std::make_unique<BackgroundCall>();
  call->status =
      std::async(std::launch::async, [stub, request, raw = call.get()] {
        return stub->Classify(&raw->context, request, &raw->response);
      });
  return call;
}

TEST_F(ServerTest, ClassifyAnswersWithLabelProbabilitiesAndTiming) {
  StartServer();
  v1::ClassifyResponse response;
  const grpc::Status status = Classify(7, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.label(), 7);
  EXPECT_FLOAT_EQ(response.confidence(), 0.55f);
  EXPECT_EQ(response.probabilities_size(), 10);
  EXPECT_EQ(response.timing().batch_size(), 1);
  EXPECT_GT(response.timing().inference_seconds(), 0);
  EXPECT_GE(response.timing().total_seconds(),
            response.timing().queue_seconds() +
                response.timing().inference_seconds());
}

// As many event loops as half of the workers.
TEST_F(ServerTest, ByWhicheverLoopACallComesInItIsAnsweredByItself) {
  StartServer(/*max_queue_size=*/64, /*max_calls_per_connection=*/0,
              /*workers=*/6);
  std::vector<std::unique_ptr<v1::Classifier::Stub>> stubs;
  std::vector<std::unique_ptr<BackgroundCall>> calls;
  for (int i = 0; i < 48; ++i) {
    stubs.push_back(v1::Classifier::NewStub(i % 6 == 0 ? Connect() : channel_));
    calls.push_back(StartCall(stubs.back().get(), Request(i % 10)));
  }
  for (int i = 0; i < 48; ++i) {
    const grpc::Status status = calls[i]->status.get();
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(calls[i]->response.label(), i % 10);
  }
}

TEST_F(ServerTest, AnImageOfTheWrongSizeIsRejectedWithExpectedAndActual) {
  StartServer();
  v1::ClassifyRequest request;
  request.set_image("short");
  v1::ClassifyResponse response;
  grpc::ClientContext context;
  const grpc::Status status = stub_->Classify(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(),
            "image: expected 16 bytes (4 x 4 x 1), got 5");
  EXPECT_TRUE(control_->computed().empty());
}

TEST_F(ServerTest, ClassifyBatchAnswersInTheOrderOfTheImages) {
  StartServer();
  v1::ClassifyBatchRequest request;
  for (int i = 0; i < 30; ++i) request.add_images(FakeImage(i));
  v1::ClassifyBatchResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->ClassifyBatch(&context, request, &response).ok());
  ASSERT_EQ(response.results_size(), 30);
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(response.results(i).label(), i % 10);
    EXPECT_LE(response.results(i).timing().batch_size(), 8);
  }
}

TEST_F(ServerTest, OneBadImageFailsItsClassifyBatchWithItsIndex) {
  StartServer();
  v1::ClassifyBatchRequest request;
  request.add_images(FakeImage(1));
  request.add_images("bad");
  v1::ClassifyBatchResponse response;
  grpc::ClientContext context;
  const grpc::Status status =
      stub_->ClassifyBatch(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("images[1]: expected 16"));
  EXPECT_TRUE(control_->computed().empty());
}

TEST_F(ServerTest, AnEmptyOrTooLargeClassifyBatchIsRejected) {
  StartServer(/*max_queue_size=*/8);
  for (const int count : {0, 9}) {
    v1::ClassifyBatchRequest request;
    for (int i = 0; i < count; ++i) request.add_images(FakeImage(i));
    v1::ClassifyBatchResponse response;
    grpc::ClientContext context;
    const grpc::Status status =
        stub_->ClassifyBatch(&context, request, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr("expected 1 to 8 images"));
  }
}

TEST_F(ServerTest, ExplainAnswersWithEveryLayerAndHeadAndTheRollout) {
  StartServer();
  v1::ExplainRequest request;
  request.set_image(FakeImage(3));
  v1::ExplainResponse response;
  grpc::ClientContext context;
  ASSERT_TRUE(stub_->Explain(&context, request, &response).ok());
  EXPECT_EQ(response.classification().label(), 3);
  EXPECT_EQ(response.tokens(), 5);
  EXPECT_EQ(response.grid_height(), 2);
  EXPECT_TRUE(response.has_class_token());
  ASSERT_EQ(response.layers_size(), 2);
  ASSERT_EQ(response.layers(1).heads_size(), 3);
  EXPECT_EQ(response.layers(1).heads(2).weights_size(), 25);
  const auto& rollout = response.rollout().weights();
  ASSERT_EQ(rollout.size(), 25);
  EXPECT_NEAR(std::accumulate(rollout.begin(), rollout.begin() + 5, 0.0f), 1,
              1e-5);
}

TEST_F(ServerTest, AFullQueueRejectsWithResourceExhausted) {
  StartServer(/*max_queue_size=*/8);
  control_->ShutGate();
  const auto computing = StartCall(stub_.get(), Request(1));
  control_->WaitForBatches(1);
  v1::ClassifyBatchRequest fill;
  for (int i = 0; i < 8; ++i) fill.add_images(FakeImage(i));
  grpc::ClientContext fill_context;
  v1::ClassifyBatchResponse filled;
  auto filling = std::async(std::launch::async, [&] {
    return stub_->ClassifyBatch(&fill_context, fill, &filled);
  });
  // Calls queue behind each other until the queue of 8 is full; whichever
  // comes last finds no place.
  grpc::Status rejected;
  while (rejected.ok()) {
    grpc::ClientContext context;
    v1::ClassifyBatchResponse response;
    if (Metrics().find("vit_queue_depth{model=\"fake\",version=\"7\"} 8") ==
        std::string::npos)
      continue;
    rejected = stub_->ClassifyBatch(&context, fill, &response);
  }
  EXPECT_EQ(rejected.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(rejected.error_message(), HasSubstr("queue is full"));
  control_->OpenGate();
  EXPECT_TRUE(computing->status.get().ok());
  EXPECT_TRUE(filling.get().ok());
}

TEST_F(ServerTest, AFullQueueTellsWhenToComeAgain) {
  StartServer(/*max_queue_size=*/16);
  // What a batch takes is known after a few of them.
  v1::ClassifyResponse response;
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(Classify(i, &response).ok());
  control_->ShutGate();
  const auto start_batch = [&](int images) {
    return std::async(std::launch::async, [this, images] {
      grpc::ClientContext context;
      v1::ClassifyBatchRequest request;
      for (int i = 0; i < images; ++i) request.add_images(FakeImage(i));
      v1::ClassifyBatchResponse results;
      return stub_->ClassifyBatch(&context, request, &results);
    });
  };
  // Not one image: what is known to be quick may be computed by the thread that
  // receives, which the gate must not hold.
  auto computing = start_batch(2);
  control_->WaitForBatches(11);
  auto filling = start_batch(16);
  WaitForQueue(16);
  // As many places are there again after two batches: one of them passes first.
  grpc::ClientContext context;
  v1::ClassifyBatchRequest more;
  for (int i = 0; i < 16; ++i) more.add_images(FakeImage(i));
  v1::ClassifyBatchResponse none;
  EXPECT_EQ(stub_->ClassifyBatch(&context, more, &none).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  const auto& trailers = context.GetServerTrailingMetadata();
  const auto hint = trailers.find("grpc-retry-pushback-ms");
  ASSERT_NE(hint, trailers.end());
  EXPECT_GE(std::stoi(std::string(hint->second.data(), hint->second.size())),
            1);
  control_->OpenGate();
  EXPECT_TRUE(computing.get().ok());
  EXPECT_TRUE(filling.get().ok());
}

TEST_F(ServerTest, ACallWhoseDeadlinePassedInTheQueueIsNotComputed) {
  StartServer();
  control_->ShutGate();
  const auto computing = StartCall(stub_.get(), Request(1));
  control_->WaitForBatches(1);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(20));
  v1::ClassifyResponse response;
  EXPECT_EQ(stub_->Classify(&context, Request(2), &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  // The server's deadline counts from the call's arrival: it passes later.
  EXPECT_EQ(computing->status.wait_for(std::chrono::milliseconds(250)),
            std::future_status::timeout);
  control_->OpenGate();
  EXPECT_TRUE(computing->status.get().ok());
  server_->Drain();
  EXPECT_THAT(control_->computed(), ::testing::ElementsAre(1));
}

TEST_F(ServerTest, CallsBeyondAConnectionsShareWaitWithTheClient) {
  StartServer(/*max_queue_size=*/64, /*max_calls_per_connection=*/2);
  const auto other = v1::Classifier::NewStub(Connect());
  control_->ShutGate();
  const auto first = StartCall(stub_.get(), Request(1));
  control_->WaitForBatches(1);
  const auto second = StartCall(stub_.get(), Request(2));
  WaitForQueue(1);
  const auto third = StartCall(stub_.get(), Request(3));
  // These come after the third, and by another connection.
  const auto fourth = StartCall(other.get(), Request(4));
  WaitForQueue(2);
  const auto fifth = StartCall(other.get(), Request(5));
  WaitForQueue(3);
  EXPECT_THAT(Metrics(), HasSubstr("\nvit_calls_in_flight 4\n"));
  control_->OpenGate();
  for (const auto* call : {&first, &second, &third, &fourth, &fifth}) {
    EXPECT_TRUE((*call)->status.get().ok());
  }
}

TEST_F(ServerTest, AFailingEngineIsAnInternalErrorAndTheServerGoesOn) {
  StartServer();
  control_->FailWith(absl::InternalError("broken kernel"));
  v1::ClassifyResponse response;
  const grpc::Status failed = Classify(1, &response);
  EXPECT_EQ(failed.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_THAT(failed.error_message(), HasSubstr("broken kernel"));
  control_->FailWith(absl::OkStatus());
  EXPECT_TRUE(Classify(1, &response).ok());
}

TEST_F(ServerTest, EveryAnswerIsCountedByMethodAndCode) {
  StartServer();
  v1::ClassifyResponse response;
  ASSERT_TRUE(Classify(4, &response).ok());
  v1::ClassifyRequest bad;
  grpc::ClientContext context;
  EXPECT_FALSE(stub_->Classify(&context, bad, &response).ok());
  const std::string metrics = Metrics();
  EXPECT_THAT(metrics, HasSubstr("{code=\"OK\",method=\"Classify\"} 1"));
  EXPECT_THAT(metrics,
              HasSubstr("{code=\"INVALID_ARGUMENT\",method=\"Classify\"} 1"));
  EXPECT_THAT(
      metrics,
      HasSubstr(
          "vit_predictions_total{label=\"4\",model=\"fake\",version=\"7\"} 1"));
  EXPECT_THAT(metrics,
              HasSubstr("vit_images_total{model=\"fake\",version=\"7\"} 1"));
}

TEST_F(ServerTest, DrainingFinishesWhatWasAcceptedAndIsNotReady) {
  StartServer();
  EXPECT_THAT(HttpAnswer(http_->port(), "GET /readyz"),
              StartsWith("HTTP/1.1 200"));
  control_->ShutGate();
  const auto accepted = StartCall(stub_.get(), Request(6));
  control_->WaitForBatches(1);
  auto drained =
      std::async(std::launch::async, [&] { return server_->Drain(); });
  while (HttpAnswer(http_->port(), "GET /readyz").find(" 503 ") ==
         std::string::npos) {
    std::this_thread::yield();
  }
  control_->OpenGate();
  EXPECT_TRUE(drained.get());
  EXPECT_TRUE(accepted->status.get().ok());
  EXPECT_EQ(accepted->response.label(), 6);
}

TEST_F(ServerTest, ATakenPortIsAnError) {
  StartServer();
  ServerOptions options = options_;
  options.address = "127.0.0.1:" + std::to_string(server_->port());
  const absl::Status status =
      Server::Start(options, Parts(queue_->info())).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr(options.address));
}

TEST_F(ServerTest, AnUnknownMethodIsUnimplementedAndCounted) {
  StartServer();
  grpc::ClientContext context;
  const grpc::Status status = Raw("/vit.v1.Classifier/Paint", "", &context);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(status.error_message(), HasSubstr("/vit.v1.Classifier/Paint"));
  EXPECT_THAT(Metrics(),
              HasSubstr("vit_refused_total{rule=\"unknown_method\"} 1"));
}

TEST_F(ServerTest, WhatIsNoMessageIsInvalidAndCounted) {
  StartServer();
  grpc::ClientContext context;
  const grpc::Status status =
      Raw("/vit.v1.Classifier/Classify", "\xff\xff\xff", &context);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("vit.v1.ClassifyRequest"));
  EXPECT_THAT(Metrics(), HasSubstr("vit_refused_total{rule=\"malformed\"} 1"));
}

TEST_F(ServerTest, AnUnknownModelIsNotFound) {
  StartServer();
  v1::ClassifyRequest request = Request(1);
  request.set_model("cat");
  v1::ClassifyResponse response;
  grpc::ClientContext context;
  const grpc::Status status = stub_->Classify(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("there is: fake"));
}

// gRPC would inflate it before it looks at its size.
TEST_F(ServerTest, ACompressedMessageIsRefused) {
  StartServer();
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  v1::ClassifyBatchRequest request;
  for (int i = 0; i < 50; ++i) request.add_images(FakeImage(0));
  v1::ClassifyBatchResponse response;
  EXPECT_EQ(stub_->ClassifyBatch(&context, request, &response).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  v1::ClassifyResponse honest;
  EXPECT_TRUE(Classify(1, &honest).ok());
}

TEST_F(ServerTest, OutOfMemoryFailsTheCallAndTheServerGoesOn) {
  StartServer();
  control_->Throw([] { throw std::bad_alloc(); });
  v1::ClassifyResponse response;
  EXPECT_EQ(Classify(1, &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  control_->Throw(nullptr);
  EXPECT_TRUE(Classify(1, &response).ok());
}

TEST_F(ServerTest, MoreExplanationsThanAllowedAtOnceAreRefused) {
  options_.max_explanations = 1;
  StartServer();
  control_->ShutGate();
  grpc::ClientContext first_context;
  v1::ExplainRequest request;
  request.set_image(FakeImage(3));
  auto first = std::async(std::launch::async, [&] {
    v1::ExplainResponse response;
    return stub_->Explain(&first_context, request, &response);
  });
  control_->WaitForBatches(1);
  grpc::ClientContext context;
  v1::ExplainResponse response;
  const grpc::Status refused = stub_->Explain(&context, request, &response);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  control_->OpenGate();
  EXPECT_TRUE(first.get().ok());
}

TEST_F(ServerTest, AFailedImageEndsItsClassifyBatchWithoutComputingTheRest) {
  options_.max_batch_size = 2;
  StartServer();
  control_->ShutGate();
  auto call = std::async(std::launch::async, [&] {
    grpc::ClientContext context;
    v1::ClassifyBatchRequest request;
    for (int i = 0; i < 8; ++i) request.add_images(FakeImage(i));
    v1::ClassifyBatchResponse response;
    return stub_->ClassifyBatch(&context, request, &response);
  });
  control_->WaitForBatches(1);
  control_->FailWith(absl::InternalError("no luck"));
  control_->OpenGate();
  EXPECT_EQ(call.get().error_code(), grpc::StatusCode::INTERNAL);
  server_->Drain();
  EXPECT_THAT(control_->batch_sizes(), ::testing::ElementsAre(2));
}

TEST_F(ServerTest, ACallWithoutADeadlineHasTheDefaultOne) {
  options_.default_deadline_ms = 20;
  StartServer();
  control_->ShutGate();
  const auto computing = StartCall(stub_.get(), Request(1));
  control_->WaitForBatches(1);
  const auto waiting = StartCall(stub_.get(), Request(2));
  WaitForQueue(1);
  // The first has begun, so it is computed; what waits is late by then.
  const Clock::time_point late = Clock::now() + std::chrono::milliseconds(20);
  while (Clock::now() < late) std::this_thread::yield();
  control_->OpenGate();
  EXPECT_TRUE(computing->status.get().ok());
  EXPECT_EQ(waiting->status.get().error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
}

TEST_F(ServerTest, BeyondTheLimitAConnectionIsClosedAndCounted) {
  options_.max_connections = 1;
  StartServer();
  v1::ClassifyResponse response;
  ASSERT_TRUE(Classify(1, &response).ok());
  // The first has just been heard of, so it keeps its place.
  const auto other = v1::Classifier::NewStub(Connect());
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::milliseconds(500));
  EXPECT_FALSE(other->Classify(&context, Request(2), &response).ok());
  EXPECT_THAT(Metrics(),
              ::testing::Not(
                  HasSubstr("vit_refused_total{rule=\"connection_limit\"} 0")));
}

}  // namespace
}  // namespace vit
