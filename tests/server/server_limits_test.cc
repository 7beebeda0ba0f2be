// Peers that keep the whole server waiting.

#include <gmock/gmock.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>

#include "server/server.h"
#include "tests/server/rpc/raw_stream.h"
#include "tests/server/server_fixture.h"

namespace vit {
namespace {

using testing::FakeImage;
using ::testing::HasSubstr;
using testing::RawStream;

class ServerLimitsTest : public testing::ServerFixture {};

TEST_F(ServerLimitsTest, ACallThatNeverSendsItsMessageIsCutOff) {
  options_.message_timeout_seconds = 1;
  StartServer();
  RawStream silent(channel_, "/vit.v1.Classifier/Classify");
  ASSERT_TRUE(silent.started());
  EXPECT_EQ(silent.Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_THAT(Metrics(),
              HasSubstr("vit_refused_total{rule=\"message_timeout\"} 1"));
  v1::ClassifyResponse response;
  EXPECT_TRUE(Classify(3, &response).ok());
}

TEST_F(ServerLimitsTest, AStreamWhoseAnswersAreNotReadIsCutOff) {
  options_.write_timeout_seconds = 1;
  StartServer();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(30));
  const auto stream = stub_->ClassifyStream(&context);
  v1::ClassifyStreamRequest request;
  request.set_image(FakeImage(1));
  // The server soon reads no more, until it ends the stream.
  while (stream->Write(request)) {
  }
  v1::ClassifyStreamResponse response;
  while (stream->Read(&response)) {
  }
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_THAT(Metrics(),
              HasSubstr("vit_refused_total{rule=\"write_timeout\"} 1"));
  v1::ClassifyResponse answer;
  EXPECT_TRUE(Classify(3, &answer).ok());
}

TEST_F(ServerLimitsTest, TheDefaultDeadlineIsThatOfEachMessageOfAStream) {
  options_.default_deadline_ms = 400;
  StartServer();
  RawStream stream(channel_, "/vit.v1.Classifier/ClassifyStream");
  v1::ClassifyStreamRequest request;
  request.set_image(FakeImage(5));
  const Clock::time_point late = Clock::now() + std::chrono::milliseconds(450);
  do {
    ASSERT_TRUE(stream.Send(request));
    const auto answer = stream.Read<v1::ClassifyStreamResponse>();
    ASSERT_TRUE(answer.has_value());
    EXPECT_EQ(answer->response().label(), 5) << answer->error().message();
  } while (Clock::now() < late);
}

}  // namespace
}  // namespace vit
