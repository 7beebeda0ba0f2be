#include "server/http/probes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/counter.h>
#include <prometheus/registry.h>

#include <atomic>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "server/http/http_server.h"
#include "server/telemetry/process_metrics.h"
#include "tests/server/http/raw_peer.h"
#include "tests/server/http_client.h"

namespace vit {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using testing::HttpAnswer;
using testing::RawPeer;
using ::testing::StartsWith;

using Collectables = std::vector<std::shared_ptr<prometheus::Collectable>>;

// Counts how often it is asked, and waits while the test holds the gate.
class CountedCollectable : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    MutexLock lock(&mutex_);
    ++collections_;
    changed_.NotifyAll();
    while (shut_) changed_.Wait(&mutex_);
    return {};
  }

  void Shut(bool shut) {
    MutexLock lock(&mutex_);
    shut_ = shut;
    changed_.NotifyAll();
  }

  void WaitForCollections(int count) {
    MutexLock lock(&mutex_);
    while (collections_ < count) changed_.Wait(&mutex_);
  }

  int collections() const {
    MutexLock lock(&mutex_);
    return collections_;
  }

 private:
  mutable Mutex mutex_;
  mutable CondVar changed_;
  mutable int collections_ = 0;
  bool shut_ = false;
};

class ThrowingCollectable : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override {
    throw std::runtime_error("no figures");
  }
};

class ProbesTest : public ::testing::Test {
 protected:
  void StartServer(Collectables collectables,
                   Clock::duration interval = std::chrono::milliseconds(100)) {
    std::vector<HttpRoute> routes = ProbeRoutes(&state_);
    routes.push_back(MetricsRoute(std::move(collectables), interval));
    auto server = HttpServer::Start("127.0.0.1:0", std::move(routes));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  std::string Answer(const std::string& request) const {
    return HttpAnswer(server_->port(), request);
  }

  ServingState state_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(ProbesTest, AliveFromTheStart) {
  StartServer({});
  EXPECT_THAT(Answer("GET /healthz"),
              AllOf(StartsWith("HTTP/1.1 200"), EndsWith("alive\n")));
  EXPECT_THAT(Answer("GET /healthz?"), StartsWith("HTTP/1.1 200"));
}

TEST_F(ProbesTest, ReadyWhileTheStateIs) {
  StartServer({});
  EXPECT_THAT(Answer("GET /readyz"), AllOf(StartsWith("HTTP/1.1 503"),
                                           EndsWith("not ready: starting\n")));
  state_.Advance(ServingState::Phase::kServing);
  EXPECT_THAT(Answer("GET /readyz"),
              AllOf(StartsWith("HTTP/1.1 200"), EndsWith("ready\n")));
  state_.SetStalled(true);
  EXPECT_THAT(Answer("GET /readyz"),
              AllOf(StartsWith("HTTP/1.1 503"), HasSubstr("stalled")));
  state_.Advance(ServingState::Phase::kDraining);
  EXPECT_THAT(Answer("GET /readyz"),
              AllOf(StartsWith("HTTP/1.1 503"), HasSubstr("shutting down")));
}

TEST_F(ProbesTest, MetricsHoldTheRegistryAndTheProcess) {
  const auto registry = std::make_shared<prometheus::Registry>();
  StartServer({registry, std::make_shared<ProcessMetrics>()});
  prometheus::BuildCounter()
      .Name("things_total")
      .Help("Things")
      .Register(*registry)
      .Add({{"kind", "good"}})
      .Increment(3);
  EXPECT_THAT(Answer("GET /metrics?name[]=x"),
              AllOf(StartsWith("HTTP/1.1 200"), HasSubstr("version=0.0.4"),
                    HasSubstr("things_total{kind=\"good\"} 3"),
                    HasSubstr("# TYPE process_cpu_seconds_total counter"),
                    HasSubstr("process_resident_memory_bytes "),
                    HasSubstr("process_open_fds "),
                    HasSubstr("process_start_time_seconds ")));
}

TEST_F(ProbesTest, MetricsAreNeverOlderThanTheQuestion) {
  const auto registry = std::make_shared<prometheus::Registry>();
  StartServer({registry});
  auto& counter =
      prometheus::BuildCounter().Name("n").Help("").Register(*registry).Add({});
  for (int i = 1; i <= 3; ++i) {
    counter.Increment();
    EXPECT_THAT(Answer("GET /metrics"), HasSubstr("n " + std::to_string(i)));
  }
}

TEST_F(ProbesTest, RequestsForMetricsShareAPage) {
  const auto counted = std::make_shared<CountedCollectable>();
  StartServer({counted}, Clock::duration::zero());
  counted->Shut(true);
  std::vector<RawPeer> peers;
  for (int i = 0; i < 40; ++i) {
    peers.emplace_back(server_->port());
    ASSERT_TRUE(peers.back().Send("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"));
    if (i == 0) counted->WaitForCollections(1);
  }
  // The collector is busy with the first; 32 wait, the others are refused.
  for (size_t i = 33; i < peers.size(); ++i) {
    EXPECT_THAT(peers[i].Answer(), StartsWith("HTTP/1.1 503 ")) << i;
  }
  EXPECT_THAT(Answer("GET /healthz"), StartsWith("HTTP/1.1 200"));
  EXPECT_THAT(Answer("GET /readyz"), HasSubstr("starting"));
  counted->Shut(false);
  for (size_t i = 0; i < 33; ++i) {
    EXPECT_THAT(peers[i].Answer(), StartsWith("HTTP/1.1 200 ")) << i;
  }
  EXPECT_EQ(counted->collections(), 2);
}

TEST_F(ProbesTest, AFloodOfMetricsLeavesProbesAnswered) {
  const auto counted = std::make_shared<CountedCollectable>();
  StartServer({counted});
  std::atomic<bool> ended{false};
  std::vector<std::thread> flood;
  for (int i = 0; i < 4; ++i) {
    flood.emplace_back([&] {
      RawPeer peer(server_->port());
      while (!ended.load()) {
        peer.Send("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
        peer.Answer();
      }
    });
  }
  const Clock::time_point start = Clock::now();
  counted->WaitForCollections(3);
  for (int i = 0; i < 20; ++i) {
    EXPECT_THAT(Answer("GET /healthz"), StartsWith("HTTP/1.1 200"));
  }
  const int collections = counted->collections();
  const double seconds = Seconds(Clock::now() - start);
  ended.store(true);
  for (std::thread& thread : flood) thread.join();
  EXPECT_LE(collections, 2 + 10 * seconds);
}

TEST_F(ProbesTest, MetricsThatCannotBeCollectedAreAnError) {
  StartServer({std::make_shared<ThrowingCollectable>()});
  EXPECT_THAT(Answer("GET /metrics"),
              AllOf(StartsWith("HTTP/1.1 500"), HasSubstr("no figures")));
}

TEST_F(ProbesTest, TheEndDropsRequestsForMetricsThatWait) {
  const auto counted = std::make_shared<CountedCollectable>();
  StartServer({counted}, std::chrono::hours(1));
  RawPeer first(server_->port());
  first.Send("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(first.Answer(), StartsWith("HTTP/1.1 200"));
  RawPeer second(server_->port());
  second.Send("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(Answer("GET /healthz"), StartsWith("HTTP/1.1 200"));
  server_.reset();
  EXPECT_THAT(second.UntilClosed(), StartsWith("HTTP/1.1 503 "));
  EXPECT_EQ(counted->collections(), 1);
}

}  // namespace
}  // namespace vit
