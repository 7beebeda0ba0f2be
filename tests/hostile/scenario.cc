#include "tests/hostile/scenario.h"

#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <iostream>
#include <utility>

#include "tests/hostile/bystanders.h"
#include "tests/integration/child_process.h"
#include "tests/integration/test_set.h"

namespace vit::hostile {
namespace {

using Clock = std::chrono::steady_clock;
using vit::testing::ChildProcess;
using vit::testing::ServerCommand;
using vit::testing::ServerProcess;
using vit::testing::TestSet;

// What most systems grant a process that does not ask for more.
constexpr int kUsualDescriptors = 1024;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// What the server says of its own options.
const std::string& Help() {
  static const std::string& help = *new std::string([] {
    std::string text;
    for (const char* const flag : {"--helpfull", "--help"}) {
      ChildProcess process(ServerCommand({flag}));
      process.Wait();
      text += process.output();
    }
    return text;
  }());
  return help;
}

// Timeouts short enough for a test, where the server has them.
std::vector<std::string> Flags() {
  std::vector<std::string> flags;
  const auto add = [&](const std::string& name, int value) {
    if (Help().find(name) == std::string::npos) return;
    flags.push_back("--" + name + "=" + std::to_string(value));
  };
  add("write_timeout_seconds", kWriteTimeoutSeconds);
  add("message_timeout_seconds", kMessageTimeoutSeconds);
  add("drain_timeout_seconds", kDrainTimeoutSeconds);
  add("lame_duck_seconds", 0);
  return flags;
}

std::vector<std::string> Launcher(int descriptors) {
  const std::string limit = descriptors > 0
                                ? "-n " + std::to_string(descriptors)
                                : "-S -n " + std::to_string(kUsualDescriptors);
  return {"sh", "-c", "ulimit " + limit + R"(; exec "$@")", "sh"};
}

// Whether a client that comes anew is served.
bool ServesANewClient(const ServerProcess& server) {
  const auto stub =
      v1::Classifier::NewStub(vit::testing::NewChannel(server.grpc_address()));
  grpc::ClientContext context;
  // A busy machine may take long over one call; a server that does not accept
  // takes all of this.
  context.set_deadline(std::chrono::system_clock::now() + kRecovery);
  v1::ClassifyRequest request;
  request.set_image(TestSet::Get().image(1));
  v1::ClassifyResponse response;
  return stub->Classify(&context, request, &response).ok() &&
         response.label() == TestSet::Get().label(1) &&
         HttpStatus(server.http_address(), "/readyz") == 200;
}

// How long it takes until a new client is served; negative if it is too long.
double RecoverySeconds(const ServerProcess& server,
                       const ServerMonitor& monitor) {
  const Clock::time_point start = Clock::now();
  const IsOver over = After(kRecovery);
  while (!ServesANewClient(server)) {
    if (over() || monitor.dead()) return -1;
  }
  return SecondsSince(start);
}

std::unique_ptr<WatchedServer>& KeptServer() {
  static auto& server = *new std::unique_ptr<WatchedServer>;
  return server;
}

}  // namespace

WatchedServer::WatchedServer(const Situation& situation)
    : server_(Flags(), {}, Launcher(situation.descriptors)) {
  if (!ready()) return;
  monitor_ = std::make_unique<ServerMonitor>(server_.process().pid());
}

HostileReport WatchedServer::Endure(const std::string& peer, Misbehaviour act,
                                    const Situation& situation) {
  HostileReport report{.peer = peer};
  {
    Bystanders bystanders(server_.grpc_address(), server_.http_address());
    bystanders.WaitForMore(volumes().calls_at_rest, 1,
                           After(situation.longest_attack));
    report.at_rest = bystanders.Take();
    monitor_->ForgetPeaks();
    const Attack attack(
        server_.grpc_address(), server_.http_address(),
        [this, late = After(situation.longest_attack)] {
          return late() || monitor_->in_danger() || monitor_->dead();
        },
        [&bystanders](const IsOver& over) {
          bystanders.WaitForMore(volumes().calls_during_hold,
                                 volumes().probes_during_hold, over);
        });
    act(attack);
    report.called_off = monitor_->in_danger();
    report.during = bystanders.Take();
  }
  report.recovery_seconds = RecoverySeconds(server_, *monitor_);
  report.died = monitor_->dead();
  report.peak_resident_bytes = monitor_->peak_resident_bytes();
  report.peak_threads = monitor_->peak_threads();
  report.log_bytes = monitor_->log_bytes();
  return report;
}

void WatchedServer::End(HostileReport* report) {
  const std::string output = monitor_->last_output();
  monitor_.reset();
  const Clock::time_point start = Clock::now();
  report->exit_code = server_.Terminate();
  report->exit_seconds = SecondsSince(start);
  EXPECT_EQ(report->exit_code, 0) << output;
  EXPECT_LE(std::chrono::duration<double>(report->exit_seconds),
            std::chrono::seconds(kWriteTimeoutSeconds) + kExitSlack);
}

void ExpectUnharmed(const HostileReport& report, const Situation& situation) {
  EXPECT_FALSE(report.died);
  EXPECT_FALSE(report.called_off);
  EXPECT_LE(report.peak_resident_bytes / kMiB, kMostResidentBytes / kMiB);
  EXPECT_LE(report.peak_threads, kMostThreads);
  EXPECT_GT(report.during.calls, 0);
  EXPECT_EQ(report.during.call_errors, 0) << report.during.first_call_error;
  // The short form runs on busy machines, where a time proves nothing.
  if (volumes().judges_latency) {
    EXPECT_LE(report.during.P99Ms(), kMostSlowdown * report.at_rest.P99Ms() +
                                         volumes().slowdown_slack_ms);
  }
  if (!situation.no_probes) {
    EXPECT_GT(report.during.probes, 0);
    EXPECT_EQ(report.during.probe_errors, 0) << report.during.first_probe_error;
  }
  EXPECT_GE(report.recovery_seconds, 0) << "new clients are not served again";
}

void ExpectHarmless(const std::string& peer, Misbehaviour act,
                    const Situation& situation) {
  const bool may_share = !FullForm() && situation.descriptors == 0;
  std::unique_ptr<WatchedServer> server;
  if (may_share) server = std::exchange(KeptServer(), nullptr);
  if (server == nullptr) server = std::make_unique<WatchedServer>(situation);
  if (!server->ready()) return;
  HostileReport report = server->Endure(peer, act, situation);
  ExpectUnharmed(report, situation);
  if (::testing::Test::HasFailure()) {
    std::cout << server->monitor().last_output() << std::endl;
  }
  if (may_share && !::testing::Test::HasFailure()) {
    KeptServer() = std::move(server);
  } else {
    server->End(&report);
  }
  report.Publish();
}

void EndKeptServer() {
  const auto server = std::exchange(KeptServer(), nullptr);
  if (server == nullptr) return;
  HostileReport report;
  server->End(&report);
}

}  // namespace vit::hostile
