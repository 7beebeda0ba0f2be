#include <gmock/gmock.h>

#include <chrono>
#include <string>
#include <thread>

#include "tests/integration/temporary_folder.h"
#include "tests/server/rpc/token_text.h"
#include "tests/server/server_fixture.h"

// What the log says of slow requests, and what they are called.
namespace vit {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::MatchesRegex;
using ::testing::Not;

constexpr char kTrace[] = "4bf92f3577b34da6a3ce929d0e0e4736";

class SlowRequestsTest : public testing::ServerFixture {
 protected:
  // Each batch takes 2 ms.
  void StartSlowServer(int limit_ms = 1) {
    options_.slow_request_ms = limit_ms;
    control_->Throw([] {
      const Clock::time_point end = Clock::now() + std::chrono::milliseconds(2);
      while (Clock::now() < end) std::this_thread::yield();
    });
    StartServer();
  }

  // The request's name in the trailers of a Classify call with these headers.
  std::string Classify(const std::string& request_id,
                       grpc::ClientContext* context) {
    context->set_deadline(std::chrono::system_clock::now() +
                          std::chrono::seconds(30));
    if (!request_id.empty()) context->AddMetadata("x-request-id", request_id);
    v1::ClassifyResponse response;
    const grpc::Status status = stub_->Classify(context, Request(3), &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return RequestIdOf(*context);
  }
  std::string Classify(const std::string& request_id) {
    grpc::ClientContext context;
    return Classify(request_id, &context);
  }

  static std::string RequestIdOf(const grpc::ClientContext& context) {
    const auto& trailers = context.GetServerTrailingMetadata();
    const auto found = trailers.find("x-request-id");
    if (found == trailers.end()) return "";
    EXPECT_EQ(trailers.count("x-request-id"), 1U);
    return {found->second.data(), found->second.size()};
  }
};

TEST_F(SlowRequestsTest, ASlowRequestIsLoggedWithItsStagesAndNames) {
  testing::TemporaryFolder folder;
  options_.tokens =
      folder.Write("tokens", testing::TokenLine("alice", "Secret"));
  StartSlowServer();
  ::testing::internal::CaptureStderr();
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer Secret");
  context.AddMetadata("traceparent",
                      "00-" + std::string(kTrace) + "-00f067aa0ba902b7-01");
  EXPECT_EQ(Classify("order 66", &context), "order 66");
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(log,
              MatchesRegex("warning: slow request: method=Classify code=OK "
                           "total_seconds=[0-9.]+ queue_seconds=[0-9.e-]+ "
                           "inference_seconds=[0-9.]+ batch_size=1 "
                           "peer=ipv4:127.0.0.1:[0-9]+ client=alice "
                           "request_id=\"order 66\" trace_id=" +
                           std::string(kTrace) + "\n"));
  EXPECT_THAT(log, Not(HasSubstr("Secret")));
}

TEST_F(SlowRequestsTest, ASlowRequestWithoutANameGetsOneThatIsLogged) {
  StartSlowServer();
  ::testing::internal::CaptureStderr();
  const std::string id = Classify("");
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(id.size(), 32U);
  EXPECT_THAT(log, HasSubstr(" request_id=" + id + "\n"));
}

TEST_F(SlowRequestsTest, ANameThatIsTooLongIsReplaced) {
  StartSlowServer();
  ::testing::internal::CaptureStderr();
  const std::string id = Classify(std::string(129, 'x'));
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), Not(HasSubstr("xxx")));
  EXPECT_EQ(id.size(), 32U);
}

TEST_F(SlowRequestsTest, OneImageAfterAnotherOfAStreamIsLogged) {
  StartSlowServer();
  ::testing::internal::CaptureStderr();
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", "stream-1");
  const auto stream = stub_->ClassifyStream(&context);
  v1::ClassifyStreamRequest request;
  request.set_image(testing::FakeImage(1));
  v1::ClassifyStreamResponse response;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(stream->Write(request));
    ASSERT_TRUE(stream->Read(&response));
  }
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
  const std::string log = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, MatchesRegex("(.*method=ClassifyStream .*"
                                "request_id=stream-1\n){2}"));
  EXPECT_EQ(RequestIdOf(context), "stream-1");
}

TEST_F(SlowRequestsTest, WithoutALimitNothingIsSlow) {
  StartSlowServer(/*limit_ms=*/0);
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(Classify(""), "");
  EXPECT_THAT(::testing::internal::GetCapturedStderr(), IsEmpty());
}

// The next one is a client's, to find the request again in its own log.
TEST_F(SlowRequestsTest, AnErrorCarriesTheNameToo) {
  StartServer();
  grpc::ClientContext context;
  context.AddMetadata("x-request-id", "order 66");
  v1::ClassifyRequest wrong;
  wrong.set_image("too short");
  v1::ClassifyResponse response;
  EXPECT_EQ(stub_->Classify(&context, wrong, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(RequestIdOf(context), "order 66");
}

}  // namespace
}  // namespace vit
