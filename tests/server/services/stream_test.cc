#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>

#include <future>
#include <map>
#include <thread>

#include "server/rpc/message.h"
#include "tests/server/server_fixture.h"

namespace vit {
namespace {

using testing::FakeImage;
using ::testing::HasSubstr;

class StreamTest : public testing::ServerFixture {
 protected:
  void Open() {
    context_.set_deadline(std::chrono::system_clock::now() +
                          std::chrono::seconds(30));
    stream_ = stub_->ClassifyStream(&context_);
  }

  void Send(uint64_t id, const std::string& image) {
    v1::ClassifyStreamRequest request;
    request.set_id(id);
    request.set_image(image);
    ASSERT_TRUE(stream_->Write(request));
  }

  // Reads the stream to its end; answers by id.
  std::map<uint64_t, v1::ClassifyStreamResponse> ReadAll() {
    std::map<uint64_t, v1::ClassifyStreamResponse> answers;
    v1::ClassifyStreamResponse answer;
    while (stream_->Read(&answer)) {
      EXPECT_TRUE(answers.emplace(answer.id(), answer).second)
          << "answered twice: " << answer.id();
    }
    return answers;
  }

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ClassifyStreamRequest,
                                           v1::ClassifyStreamResponse>>
      stream_;
};

TEST_F(StreamTest, EveryImageOfAStreamIsAnsweredWithItsId) {
  constexpr uint64_t kImages = 500;
  StartServer();
  Open();
  auto answers = std::async(std::launch::async, [&] { return ReadAll(); });
  for (uint64_t id = 0; id < kImages; ++id) {
    Send(id, FakeImage(static_cast<int>(id % 250)));
  }
  stream_->WritesDone();
  const auto by_id = answers.get();
  EXPECT_TRUE(stream_->Finish().ok());
  ASSERT_EQ(by_id.size(), kImages);
  for (const auto& [id, answer] : by_id) {
    EXPECT_EQ(answer.response().label(), id % 250 % 10);
  }
}

TEST_F(StreamTest, ABadImageGetsAnErrorAndTheStreamGoesOn) {
  StartServer();
  Open();
  Send(1, FakeImage(5));
  Send(2, "bad");
  Send(3, FakeImage(6));
  stream_->WritesDone();
  auto answers = ReadAll();
  EXPECT_TRUE(stream_->Finish().ok());
  ASSERT_EQ(answers.size(), 3);
  EXPECT_EQ(answers[1].response().label(), 5);
  EXPECT_EQ(answers[2].error().code(), 3);
  EXPECT_THAT(answers[2].error().message(), HasSubstr("expected 16 bytes"));
  EXPECT_EQ(answers[3].response().label(), 6);
}

// The typed stub cannot send what is no message.
TEST_F(StreamTest, WhatIsNoMessageGetsAnErrorAndTheStreamGoesOn) {
  StartServer();
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto stream =
      stub.PrepareCall(&context, "/vit.v1.Classifier/ClassifyStream", &queue);
  const auto wait = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    return queue.Next(&tag, &ok) && ok;
  };
  stream->StartCall(nullptr);
  ASSERT_TRUE(wait());
  const auto exchange = [&](const std::string& bytes) {
    const grpc::Slice slice(bytes);
    stream->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    EXPECT_TRUE(wait());
    grpc::ByteBuffer answer;
    stream->Read(&answer, nullptr);
    EXPECT_TRUE(wait());
    v1::ClassifyStreamResponse response;
    EXPECT_TRUE(ParseMessage(answer, &response).ok());
    return response;
  };
  const v1::ClassifyStreamResponse bad = exchange("\xff\xff\xff");
  EXPECT_EQ(bad.id(), 0);
  EXPECT_EQ(bad.error().code(), 3);
  v1::ClassifyStreamRequest good;
  good.set_id(7);
  good.set_image(FakeImage(5));
  const v1::ClassifyStreamResponse answer = exchange(good.SerializeAsString());
  EXPECT_EQ(answer.id(), 7);
  EXPECT_EQ(answer.response().label(), 5);
  stream->WritesDone(nullptr);
  ASSERT_TRUE(wait());
  grpc::Status status;
  stream->Finish(&status, nullptr);
  ASSERT_TRUE(wait());
  EXPECT_TRUE(status.ok());
  EXPECT_THAT(Metrics(), HasSubstr("vit_refused_total{rule=\"malformed\"} 1"));
}

TEST_F(StreamTest, AnEmptyStreamEndsWell) {
  StartServer();
  Open();
  stream_->WritesDone();
  EXPECT_TRUE(ReadAll().empty());
  EXPECT_TRUE(stream_->Finish().ok());
}

TEST_F(StreamTest, ACancelledStreamEndsAndTheServerGoesOn) {
  StartServer();
  control_->ShutGate();
  Open();
  Send(1, FakeImage(1));
  control_->WaitForBatches(1);
  Send(2, FakeImage(2));
  context_.TryCancel();
  EXPECT_EQ(stream_->Finish().error_code(), grpc::StatusCode::CANCELLED);
  control_->OpenGate();
  v1::ClassifyResponse response;
  EXPECT_TRUE(Classify(3, &response).ok());
}

TEST_F(StreamTest, ADrainAnswersWhatWasReadAndEndsTheStream) {
  StartServer();
  control_->ShutGate();
  Open();
  Send(1, FakeImage(1));
  control_->WaitForBatches(1);
  auto drained =
      std::async(std::launch::async, [&] { return server_->Drain(); });
  while (testing::HttpAnswer(http_->port(), "GET /readyz").find(" 503 ") ==
         std::string::npos) {
    std::this_thread::yield();
  }
  control_->OpenGate();
  const auto answers = ReadAll();
  EXPECT_EQ(answers.size(), 1);
  EXPECT_EQ(stream_->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(drained.get());
}

}  // namespace
}  // namespace vit
