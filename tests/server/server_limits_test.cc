// Peers that keep the whole server waiting.

#include <gmock/gmock.h>

#include <chrono>
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
  // Few answers fit into a window that does not grow.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 512);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  RawStream stream(
      grpc::CreateCustomChannel(server_->address(),
                                grpc::InsecureChannelCredentials(), arguments),
      "/vit.v1.Classifier/ClassifyStream");
  v1::ClassifyStreamRequest request;
  request.set_image(FakeImage(1));
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(stream.Send(request));
  while (Metrics().find("vit_refused_total{rule=\"write_timeout\"} 1") ==
         std::string::npos) {
    std::this_thread::yield();
  }
  while (stream.Read<v1::ClassifyStreamResponse>().has_value()) {
  }
  EXPECT_EQ(stream.Finish().error_code(), grpc::StatusCode::CANCELLED);
  v1::ClassifyResponse answer;
  EXPECT_TRUE(Classify(3, &answer).ok());
}

TEST_F(ServerLimitsTest, TheDefaultDeadlineIsThatOfEachMessageOfAStream) {
  options_.default_deadline_ms = 400;
  StartServer();
  grpc::ClientContext context;  // without a deadline
  const auto stream = stub_->ClassifyStream(&context);
  v1::ClassifyStreamRequest request;
  request.set_image(FakeImage(5));
  v1::ClassifyStreamResponse answer;
  const Clock::time_point late = Clock::now() + std::chrono::milliseconds(450);
  bool is_late = false;
  while (!is_late) {
    is_late = Clock::now() >= late;
    ASSERT_TRUE(stream->Write(request));
    ASSERT_TRUE(stream->Read(&answer));
  }
  EXPECT_EQ(answer.response().label(), 5) << answer.error().message();
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

}  // namespace
}  // namespace vit
