#include <gmock/gmock.h>
#include <grpcpp/client_context.h>

#include <numeric>
#include <set>
#include <string>
#include <vector>

#include "tests/integration/server_process.h"
#include "tests/integration/test_set.h"

namespace vit {
namespace {

using ::testing::HasSubstr;
using testing::ServerProcess;
using testing::SetPatience;
using testing::TestSet;

constexpr int kImages = 256;
constexpr int kLeastCorrect = 251;  // 98 %

// The first images of MNIST's test set by each of the three ways.
class ClassifyTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(server_.ready()); }

  std::vector<v1::ClassifyResponse> OneByOne() {
    std::vector<v1::ClassifyResponse> responses(kImages);
    for (int i = 0; i < kImages; ++i) {
      const grpc::Status status =
          server_.Classify(TestSet::Get().image(i), &responses[i]);
      EXPECT_TRUE(status.ok()) << status.error_message();
    }
    return responses;
  }

  std::vector<v1::ClassifyResponse> InOneMessage() {
    v1::ClassifyBatchRequest request;
    for (int i = 0; i < kImages; ++i) {
      request.add_images(TestSet::Get().image(i));
    }
    grpc::ClientContext context;
    SetPatience(&context);
    v1::ClassifyBatchResponse response;
    const grpc::Status status =
        server_.stub().ClassifyBatch(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return {response.results().begin(), response.results().end()};
  }

  // Sends as the flow control allows: as many as the server keeps in flight
  // first, then one for each answer.
  std::vector<v1::ClassifyResponse> InAStream() {
    grpc::ClientContext context;
    SetPatience(&context);
    const auto stream = server_.stub().ClassifyStream(&context);
    std::vector<v1::ClassifyResponse> responses(kImages);
    std::set<uint64_t> answered;
    int sent = 0;
    const auto send = [&] {
      if (sent == kImages) return;
      v1::ClassifyStreamRequest request;
      request.set_id(sent);
      request.set_image(TestSet::Get().image(sent++));
      EXPECT_TRUE(stream->Write(request));
      if (sent == kImages) stream->WritesDone();
    };
    for (int i = 0; i < 64; ++i) send();
    v1::ClassifyStreamResponse answer;
    while (stream->Read(&answer)) {
      EXPECT_TRUE(answer.has_response()) << answer.error().message();
      EXPECT_LT(answer.id(), kImages);
      EXPECT_TRUE(answered.insert(answer.id()).second) << answer.id();
      responses[answer.id() % kImages] = answer.response();
      send();
    }
    const grpc::Status status = stream->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(answered.size(), kImages);
    return responses;
  }

  ServerProcess server_;
};

int Correct(const std::vector<v1::ClassifyResponse>& responses) {
  int correct = 0;
  for (size_t i = 0; i < responses.size(); ++i) {
    const int expected = TestSet::Get().label(static_cast<int>(i));
    correct += responses[i].label() == expected ? 1 : 0;
  }
  return correct;
}

void ExpectWellFormed(const v1::ClassifyResponse& response) {
  const auto& probabilities = response.probabilities();
  ASSERT_EQ(probabilities.size(), 10);
  double sum = 0;
  for (const float probability : probabilities) {
    EXPECT_GE(probability, 0);
    EXPECT_LE(probability, response.confidence());
    sum += probability;
  }
  EXPECT_NEAR(sum, 1, 1e-5);
  EXPECT_FLOAT_EQ(probabilities[response.label()], response.confidence());
  const v1::Timing& timing = response.timing();
  EXPECT_GE(timing.queue_seconds(), 0);
  EXPECT_GT(timing.inference_seconds(), 0);
  EXPECT_GE(timing.total_seconds(),
            timing.queue_seconds() + timing.inference_seconds());
  EXPECT_GE(timing.batch_size(), 1);
  EXPECT_LE(timing.batch_size(), 32);
}

TEST_F(ClassifyTest, AllThreeWaysGiveTheSameLabelsAndTheyAreRight) {
  const std::vector<v1::ClassifyResponse> one_by_one = OneByOne();
  const std::vector<v1::ClassifyResponse> in_one_message = InOneMessage();
  const std::vector<v1::ClassifyResponse> in_a_stream = InAStream();
  ASSERT_EQ(in_one_message.size(), kImages);
  EXPECT_GE(Correct(one_by_one), kLeastCorrect);
  for (int i = 0; i < kImages; ++i) {
    SCOPED_TRACE(i);
    ExpectWellFormed(one_by_one[i]);
    ExpectWellFormed(in_one_message[i]);
    ExpectWellFormed(in_a_stream[i]);
    EXPECT_EQ(in_one_message[i].label(), one_by_one[i].label());
    EXPECT_EQ(in_a_stream[i].label(), one_by_one[i].label());
    EXPECT_NEAR(in_one_message[i].confidence(), one_by_one[i].confidence(),
                1e-5);
  }
}

TEST_F(ClassifyTest, TheServerCountsWhatItAnswered) {
  EXPECT_EQ(InOneMessage().size(), kImages);
  v1::ClassifyResponse response;
  ASSERT_TRUE(server_.Classify(TestSet::Get().image(0), &response).ok());
  EXPECT_EQ(server_.Metric("vit_images_total"), kImages + 1);
  EXPECT_EQ(server_.Metric("vit_batch_size_sum"), kImages + 1);
  EXPECT_EQ(
      server_.Metric(R"(vit_requests_total{code="OK",method="Classify"})"), 1);
  EXPECT_EQ(
      server_.Metric(R"(vit_requests_total{code="OK",method="ClassifyBatch"})"),
      1);
  double predictions = 0;
  for (int label = 0; label < 10; ++label) {
    predictions += server_.Metric("vit_predictions_total{label=\"" +
                                  std::to_string(label) + "\"}");
  }
  EXPECT_EQ(predictions, kImages + 1);
}

// Every row of an attention matrix is a distribution.
void ExpectRowsSumToOne(const v1::AttentionMatrix& matrix, int tokens) {
  ASSERT_EQ(matrix.weights_size(), tokens * tokens);
  for (int row = 0; row < tokens; ++row) {
    const auto begin = matrix.weights().begin() + row * tokens;
    EXPECT_NEAR(std::accumulate(begin, begin + tokens, 0.0), 1, 1e-5);
  }
  EXPECT_THAT(matrix.weights(), ::testing::Each(::testing::Ge(0)));
}

TEST_F(ClassifyTest, ExplainGivesAttentionOfEveryLayerAndHeadAndTheRollout) {
  v1::ExplainRequest request;
  request.set_image(TestSet::Get().image(0));
  v1::ExplainResponse response;
  grpc::ClientContext context;
  SetPatience(&context);
  const grpc::Status status =
      server_.stub().Explain(&context, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ExpectWellFormed(response.classification());
  EXPECT_EQ(response.classification().label(), TestSet::Get().label(0));
  EXPECT_EQ(response.tokens(), 17);
  EXPECT_TRUE(response.has_class_token());
  EXPECT_EQ(response.grid_height(), 4);
  EXPECT_EQ(response.grid_width(), 4);
  EXPECT_EQ(response.patch_size(), 7);
  ASSERT_EQ(response.layers_size(), 6);
  for (const v1::LayerAttention& layer : response.layers()) {
    ASSERT_EQ(layer.heads_size(), 4);
    for (const v1::AttentionMatrix& head : layer.heads()) {
      ExpectRowsSumToOne(head, response.tokens());
    }
  }
  ExpectRowsSumToOne(response.rollout(), response.tokens());
}

TEST_F(ClassifyTest, AnImageOfAWrongSizeIsRefusedWithExpectedAndActualSize) {
  const std::string image = TestSet::Get().image(0);
  for (const std::string& wrong : {std::string(), image.substr(1), image + "x",
                                   std::string(100000, '\0')}) {
    v1::ClassifyResponse response;
    const grpc::Status status = server_.Classify(wrong, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_EQ(status.error_message(),
              "image: expected 784 bytes (28 x 28 x 1), got " +
                  std::to_string(wrong.size()));
  }
  v1::ExplainRequest request;
  request.set_image("short");
  v1::ExplainResponse response;
  grpc::ClientContext context;
  SetPatience(&context);
  const grpc::Status status =
      server_.stub().Explain(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("expected 784 bytes"));
  EXPECT_EQ(server_.Metric("vit_images_total"), 0);
}

TEST_F(ClassifyTest, AMessageLargerThanTheLargestRequestIsRefusedUnread) {
  v1::ClassifyResponse response;
  const grpc::Status status =
      server_.Classify(std::string(1000000, '\0'), &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), ::testing::HasSubstr("larger than max"));
}

TEST_F(ClassifyTest, ABadImageInABatchIsNamedByItsIndexAndNoneIsComputed) {
  v1::ClassifyBatchRequest request;
  for (int i = 0; i < 5; ++i) request.add_images(TestSet::Get().image(i));
  request.mutable_images(3)->pop_back();
  v1::ClassifyBatchResponse response;
  grpc::ClientContext context;
  SetPatience(&context);
  const grpc::Status status =
      server_.stub().ClassifyBatch(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(),
            "images[3]: expected 784 bytes (28 x 28 x 1), got 783");
  EXPECT_EQ(server_.Metric("vit_images_total"), 0);
}

TEST_F(ClassifyTest, ABadImageInAStreamGetsAnErrorAndTheStreamGoesOn) {
  grpc::ClientContext context;
  SetPatience(&context);
  const auto stream = server_.stub().ClassifyStream(&context);
  v1::ClassifyStreamRequest request;
  v1::ClassifyStreamResponse answer;
  request.set_id(7);
  request.set_image("short");
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&answer));
  EXPECT_EQ(answer.id(), 7);
  EXPECT_EQ(answer.error().code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(answer.error().message(),
            "image: expected 784 bytes (28 x 28 x 1), got 5");
  request.set_id(8);
  request.set_image(TestSet::Get().image(0));
  ASSERT_TRUE(stream->Write(request));
  ASSERT_TRUE(stream->Read(&answer));
  EXPECT_EQ(answer.id(), 8);
  EXPECT_EQ(answer.response().label(), TestSet::Get().label(0));
  stream->WritesDone();
  EXPECT_FALSE(stream->Read(&answer));
  EXPECT_TRUE(stream->Finish().ok());
}

}  // namespace
}  // namespace vit
