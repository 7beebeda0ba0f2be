#ifndef MNIST_VIT_TESTS_HOSTILE_SCENARIO_H_
#define MNIST_VIT_TESTS_HOSTILE_SCENARIO_H_

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "tests/hostile/attack.h"
#include "tests/hostile/hostile_report.h"
#include "tests/hostile/limits.h"
#include "tests/hostile/server_monitor.h"
#include "tests/integration/server_process.h"

namespace vit::hostile {

// What is special about the server of one test.
struct Situation {
  // How many descriptors the server may open; 0: what most systems grant.
  int descriptors = 0;
  // The peers take all descriptors, so that no probe can come in meanwhile.
  bool no_probes = false;
  std::chrono::seconds longest_attack = volumes().longest_attack;
};

// A real server with the shipped model, and its monitor. Not thread-safe.
class WatchedServer {
 public:
  explicit WatchedServer(const Situation& situation = {});

  bool ready() const { return server_.ready(); }
  const vit::testing::ServerProcess& server() const { return server_; }
  ServerMonitor& monitor() { return *monitor_; }

  // Lets `act` misbehave beside honest peers and fills in the report, up to
  // the server's end.
  HostileReport Endure(const std::string& peer, Misbehaviour act,
                       const Situation& situation);

  // SIGTERM, and waits. Expects exit code 0 in time. Once only.
  void End(HostileReport* report);

 private:
  vit::testing::ServerProcess server_;
  std::unique_ptr<ServerMonitor> monitor_;
};

// Expects of the report what limits.h says.
void ExpectUnharmed(const HostileReport& report, const Situation& situation);

// Runs one scenario: `act` against a server, beside an honest client and a
// prober; expects that the server keeps to limits.h, serves everyone else
// meanwhile and afterwards, and ends in order; publishes the report. The full
// form gives each scenario a server of its own. The short form keeps one for
// as long as it is unharmed.
void ExpectHarmless(const std::string& peer, Misbehaviour act,
                    const Situation& situation = {});

// Ends the server that the short form kept, if there is one, and expects that
// it ends in order.
void EndKeptServer();

}  // namespace vit::hostile

#endif  // MNIST_VIT_TESTS_HOSTILE_SCENARIO_H_
