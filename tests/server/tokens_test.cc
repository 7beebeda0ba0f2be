#include <gmock/gmock.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <thread>

#include "grpc/health/v1/health.grpc.pb.h"
#include "grpc/reflection/v1/reflection.grpc.pb.h"
#include "tests/integration/temporary_folder.h"
#include "tests/server/rpc/token_text.h"
#include "tests/server/server_fixture.h"
#include "vit/v1/models.grpc.pb.h"

// Tokens, through real channels.
namespace vit {
namespace {

using ::testing::HasSubstr;
using testing::TokenLine;
using Code = grpc::StatusCode;

class TokensTest : public testing::ServerFixture {
 protected:
  void StartWithTokens(const std::string& text) {
    options_.tokens = folder_.Write("tokens", text);
    StartServer();
  }

  static void Prepare(grpc::ClientContext* context, const std::string& token) {
    context->set_deadline(std::chrono::system_clock::now() +
                          std::chrono::seconds(30));
    if (!token.empty())
      context->AddMetadata("authorization", "Bearer " + token);
  }

  grpc::Status ClassifyAs(const std::string& token,
                          grpc::ClientContext* context) {
    Prepare(context, token);
    v1::ClassifyResponse response;
    return stub_->Classify(context, Request(3), &response);
  }
  grpc::Status ClassifyAs(const std::string& token) {
    grpc::ClientContext context;
    return ClassifyAs(token, &context);
  }

  testing::TemporaryFolder folder_;
};

TEST_F(TokensTest, OnlyAKnownTokenIsLetIn) {
  StartWithTokens(TokenLine("alice", "a"));
  EXPECT_TRUE(ClassifyAs("a").ok());
  EXPECT_EQ(ClassifyAs("").error_code(), Code::UNAUTHENTICATED);
  const grpc::Status wrong = ClassifyAs("Secret");
  EXPECT_EQ(wrong.error_code(), Code::UNAUTHENTICATED);
  EXPECT_EQ(wrong.error_message().find("Secret"), std::string::npos);
  EXPECT_THAT(Metrics(),
              HasSubstr("vit_refused_total{rule=\"unauthenticated\"} 2"));
  EXPECT_EQ(control_->computed().size(), 1U);
}

TEST_F(TokensTest, TwoAuthorizationsAreNone) {
  StartWithTokens(TokenLine("alice", "a"));
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer b");
  EXPECT_EQ(ClassifyAs("a", &context).error_code(), Code::UNAUTHENTICATED);
}

TEST_F(TokensTest, StreamsNeedATokenToo) {
  StartWithTokens(TokenLine("alice", "a"));
  for (const std::string token : {"", "a"}) {
    grpc::ClientContext context;
    Prepare(&context, token);
    const auto stream = stub_->ClassifyStream(&context);
    stream->WritesDone();
    EXPECT_EQ(stream->Finish().error_code(),
              token.empty() ? Code::UNAUTHENTICATED : Code::OK);
  }
}

TEST_F(TokensTest, AnotherMethodIsForbidden) {
  StartWithTokens(TokenLine("alice", "a", "methods=Explain"));
  const grpc::Status status = ClassifyAs("a");
  EXPECT_EQ(status.error_code(), Code::PERMISSION_DENIED);
  EXPECT_THAT(status.error_message(), HasSubstr("'alice' is not for Classify"));
  EXPECT_THAT(Metrics(), HasSubstr("vit_refused_total{rule=\"forbidden\"} 1"));
}

TEST_F(TokensTest, WhoCallsTooOftenIsToldWhenToTryAgain) {
  StartWithTokens(TokenLine("alice", "a", "rate=0.001"));
  EXPECT_TRUE(ClassifyAs("a").ok());
  grpc::ClientContext context;
  EXPECT_EQ(ClassifyAs("a", &context).error_code(), Code::RESOURCE_EXHAUSTED);
  EXPECT_EQ(context.GetServerTrailingMetadata().count("grpc-retry-pushback-ms"),
            1U);
  EXPECT_THAT(Metrics(), HasSubstr("vit_refused_total{rule=\"rate_limit\"} 1"));
}

TEST_F(TokensTest, ProbesNeedNoTokenReflectionDoes) {
  StartWithTokens(TokenLine("alice", "a"));
  const auto health = grpc::health::v1::Health::NewStub(channel_);
  grpc::ClientContext check;
  Prepare(&check, "");
  grpc::health::v1::HealthCheckResponse response;
  EXPECT_TRUE(health->Check(&check, {}, &response).ok());
  grpc::ClientContext watch;
  Prepare(&watch, "");
  const auto watching = health->Watch(&watch, {});
  EXPECT_TRUE(watching->Read(&response));
  watch.TryCancel();
  watching->Finish();

  const auto reflection =
      grpc::reflection::v1::ServerReflection::NewStub(channel_);
  for (const std::string token : {"", "a"}) {
    grpc::ClientContext context;
    Prepare(&context, token);
    const auto stream = reflection->ServerReflectionInfo(&context);
    stream->WritesDone();
    EXPECT_EQ(stream->Finish().error_code(),
              token.empty() ? Code::UNAUTHENTICATED : Code::OK);
  }
}

TEST_F(TokensTest, AChangedFileIsUsedWithoutARestart) {
  StartWithTokens(TokenLine("alice", "a"));
  folder_.Write("next", TokenLine("bob", "b"));
  std::filesystem::rename(folder_.File("next"), folder_.File("tokens"));
  while (!ClassifyAs("b").ok()) std::this_thread::yield();
  EXPECT_EQ(ClassifyAs("a").error_code(), Code::UNAUTHENTICATED);
}

// Otherwise both are one client, because they come by one connection.
TEST_F(TokensTest, TheQueueIsSharedByToken) {
  options_.max_batch_size = 1;
  options_.max_images_per_call = 1;
  options_.tokens =
      folder_.Write("tokens", TokenLine("alice", "a") + TokenLine("bob", "b"));
  control_->ShutGate();
  StartServer(/*max_queue_size=*/4);
  std::vector<std::thread> calls;
  std::atomic<int> displaced{0};
  // One is computed, four fill the queue.
  const auto call = [&](const std::string& token) {
    calls.emplace_back([this, token, &displaced] {
      const Code code = ClassifyAs(token).error_code();
      if (code != Code::OK) ++displaced;
    });
  };
  call("a");
  control_->WaitForBatches(1);
  for (int i = 0; i < 4; ++i) {
    call("a");
    WaitForQueue(i + 1);
  }
  EXPECT_EQ(displaced, 0);
  grpc::Status of_bob;
  std::thread bob([&] { of_bob = ClassifyAs("b"); });
  while (displaced == 0) std::this_thread::yield();
  control_->OpenGate();
  bob.join();
  for (std::thread& thread : calls) thread.join();
  EXPECT_TRUE(of_bob.ok()) << of_bob.error_message();
  EXPECT_EQ(displaced, 1);
}

TEST_F(TokensTest, AWrongFileIsNamedAtTheStart) {
  StartServer();
  ServerOptions options = options_;
  options.tokens =
      folder_.Write("tokens", TokenLine("alice", "a", "methods=Clasify"));
  const absl::Status status =
      Server::Start(options, Parts(queue_->info())).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr(options.tokens + ", line 1: expected methods="));
}

}  // namespace
}  // namespace vit
