#ifndef MNIST_VIT_TESTS_INTEGRATION_SERVER_PROCESS_H_
#define MNIST_VIT_TESTS_INTEGRATION_SERVER_PROCESS_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/integration/child_process.h"
#include "vit/v1/classifier.grpc.pb.h"

namespace vit::testing {

// The longest that a test waits for one call or one condition. Only a broken
// server makes it wait that long.
inline constexpr std::chrono::seconds kPatience = ChildProcess::kPatience;

// The weights that the project ships.
std::string ModelPath();

// Asks again and again until `condition` holds; false if it does not in time.
bool WaitUntil(const std::function<bool()>& condition);

// Gives a call the longest deadline that a test has.
void SetPatience(grpc::ClientContext* context);

// A connection to a server, of its own, without retries and HTTP proxies.
std::shared_ptr<grpc::Channel> NewChannel(const std::string& address);

// The command that starts the server with the shipped weights on ports of the
// system's choice; `flags` come after and win. `launcher`, if any, is a command
// that ends as the command that follows it, such as {"nice"}.
std::vector<std::string> ServerCommand(
    const std::vector<std::string>& flags,
    const std::vector<std::string>& launcher = {});

// A real vit-server on ports of the system's choice. Thread-safe but for what
// has to do with the process: ready, Signal, Wait, Terminate and process.
class ServerProcess {
 public:
  struct HttpAnswer {
    int status = 0;  // 0: nobody answered
    std::string body;
  };

  // Starts the server and waits until it says that it is ready. If it does not
  // become so, the test fails and ready() is false.
  explicit ServerProcess(const std::vector<std::string>& flags = {},
                         const std::vector<std::string>& environment = {},
                         const std::vector<std::string>& launcher = {});

  bool ready() const { return stub_ != nullptr; }
  const std::string& grpc_address() const { return grpc_address_; }
  const std::string& http_address() const { return http_address_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  v1::Classifier::Stub& stub() const { return *stub_; }
  ChildProcess& process() { return process_; }

  // One Classify call on its own.
  grpc::Status Classify(const std::string& image,
                        v1::ClassifyResponse* response) const;

  HttpAnswer HttpGet(const std::string& path) const;

  // The sum of the series of /metrics that have this name and these labels, and
  // perhaps others, such as `vit_requests_total{code="OK",method="Classify"}`;
  // NaN if there is none.
  double Metric(const std::string& series) const;

  // Waits until the series has at least this value.
  bool WaitForMetric(const std::string& series, double least) const;

  void Signal(int signal) const { process_.Signal(signal); }
  // Waits for the end; the exit code.
  int Wait() { return process_.Wait(); }
  // SIGTERM, then Wait.
  int Terminate();

 private:
  ChildProcess process_;
  std::string grpc_address_;
  std::string http_address_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Classifier::Stub> stub_;
};

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_INTEGRATION_SERVER_PROCESS_H_
