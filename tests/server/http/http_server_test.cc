#include "server/http/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/counter.h>
#include <prometheus/registry.h>

#include "server/telemetry/process_metrics.h"
#include "tests/server/http_client.h"

namespace vit {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using testing::HttpAnswer;
using ::testing::StartsWith;

class HttpServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = HttpServer::Start(
        "127.0.0.1:0", {registry_, std::make_shared<ProcessMetrics>()});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  std::shared_ptr<prometheus::Registry> registry_ =
      std::make_shared<prometheus::Registry>();
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AliveFromTheStart) {
  EXPECT_THAT(HttpAnswer(server_->port(), "GET /healthz"),
              AllOf(StartsWith("HTTP/1.1 200"), EndsWith("alive\n")));
}

TEST_F(HttpServerTest, ReadyOnlyWhileSaidSo) {
  const int port = server_->port();
  EXPECT_THAT(HttpAnswer(port, "GET /readyz"), StartsWith("HTTP/1.1 503"));
  server_->SetReady(true);
  EXPECT_THAT(HttpAnswer(port, "GET /readyz"), StartsWith("HTTP/1.1 200"));
  server_->SetReady(false);
  EXPECT_THAT(HttpAnswer(port, "GET /readyz"), StartsWith("HTTP/1.1 503"));
}

TEST_F(HttpServerTest, MetricsHoldTheRegistryAndTheProcess) {
  prometheus::BuildCounter()
      .Name("things_total")
      .Help("Things")
      .Register(*registry_)
      .Add({{"kind", "good"}})
      .Increment(3);
  EXPECT_THAT(HttpAnswer(server_->port(), "GET /metrics"),
              AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("version=0.0.4"),
                    HasSubstr("things_total{kind=\"good\"} 3"),
                    HasSubstr("# TYPE process_cpu_seconds_total counter"),
                    HasSubstr("process_resident_memory_bytes "),
                    HasSubstr("process_open_fds "),
                    HasSubstr("process_start_time_seconds ")));
}

TEST_F(HttpServerTest, AHeadRequestGetsNoBody) {
  EXPECT_THAT(HttpAnswer(server_->port(), "HEAD /healthz"),
              AllOf(StartsWith("HTTP/1.1 200"), EndsWith("\r\n\r\n")));
}

TEST_F(HttpServerTest, AnythingElseIsNotFound) {
  for (const char* path : {"/", "/metrics/x", "/../etc/passwd", "/healthzz"}) {
    EXPECT_THAT(HttpAnswer(server_->port(), std::string("GET ") + path),
                HasSubstr(" 40"))
        << path;
  }
}

TEST_F(HttpServerTest, ATakenPortIsAnError) {
  const std::string taken = "127.0.0.1:" + std::to_string(server_->port());
  const absl::Status status = HttpServer::Start(taken, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr(taken));
}

}  // namespace
}  // namespace vit
