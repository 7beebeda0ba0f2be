#ifndef MNIST_VIT_TESTS_HOSTILE_BYSTANDERS_H_
#define MNIST_VIT_TESTS_HOSTILE_BYSTANDERS_H_

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "tests/hostile/socket.h"
#include "vit/v1/classifier.grpc.pb.h"

namespace vit::hostile {

// What honest peers went through.
struct Experience {
  std::vector<double> latencies_ms;  // of calls that were answered well
  int calls = 0;
  int call_errors = 0;
  std::string first_call_error;
  int probes = 0;
  int probe_errors = 0;
  std::string first_probe_error;
  double slowest_probe_ms = 0;

  // The latency that 99 of 100 calls keep to; 0 without calls.
  double P99Ms() const;
};

// A client that classifies one image after another over a connection of its
// own, and a prober of /healthz and /readyz, each on a thread of its own, from
// construction to destruction. Thread-safe.
class Bystanders {
 public:
  Bystanders(const std::string& grpc_address, std::string http_address);
  ~Bystanders();

  Bystanders(const Bystanders&) = delete;
  Bystanders& operator=(const Bystanders&) = delete;

  // Waits until that many more calls have begun and ended, and so many more
  // probes of each path; or until `over`.
  void WaitForMore(int calls, int probes, const IsOver& over);

  // What they went through since the last Take.
  Experience Take();

 private:
  void Call(const std::stop_token& stop);
  void Probe(const std::stop_token& stop);
  void Record(const std::function<void(Experience&)>& change);

  const std::unique_ptr<v1::Classifier::Stub> stub_;
  const std::string http_address_;

  std::mutex mutex_;
  std::condition_variable_any changed_;
  Experience experience_;
  int total_calls_ = 0;
  int total_probes_ = 0;

  std::jthread caller_;
  std::jthread prober_;
};

// The status code of an HTTP GET, over a connection of its own; 0 if it is not
// answered within a second.
int HttpStatus(const std::string& address, const std::string& path);

}  // namespace vit::hostile

#endif  // MNIST_VIT_TESTS_HOSTILE_BYSTANDERS_H_
