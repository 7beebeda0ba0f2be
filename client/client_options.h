#ifndef MNIST_VIT_CLIENT_CLIENT_OPTIONS_H_
#define MNIST_VIT_CLIENT_CLIENT_OPTIONS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace vit::client {

struct ClientOptions {
  // Where the servers are, as gRPC names targets: "host:port",
  // "dns:///host:port", "ipv4:10.0.0.1:50051,10.0.0.2:50051". Calls go in turn
  // to all addresses behind it whose server says that it is healthy.
  std::string target = "localhost:50051";
  // The time that a call may take with all its retries. More than zero.
  absl::Duration deadline = absl::Seconds(5);
  // How often a call is tried in all when the server is unavailable or its
  // queue is full, from 1 (no retries) to 5 (gRPC's limit). A retry goes to the
  // next server. Retries stop while more than about a tenth of all attempts
  // fail, after a burst of 500 failures, so that they do not feed an overload.
  int max_attempts = 4;
  // Before the n-th retry, about
  // min(initial_backoff * backoff_multiplier^(n - 1), max_backoff): gRPC varies
  // it by a fifth. Retries that together take less than the 100 ms after which
  // a lost connection is tried again do not help a lone server.
  absl::Duration initial_backoff = absl::Milliseconds(50);
  absl::Duration max_backoff = absl::Seconds(1);
  double backoff_multiplier = 2;
};

// InvalidArgument, with the reason, if an option is out of its range.
absl::Status Validate(const ClientOptions& options);

// gRPC's service config for these options, as JSON: retries, load balancing,
// and that only servers are used which say that they are healthy.
std::string ServiceConfigJson(const ClientOptions& options);

}  // namespace vit::client

#endif  // MNIST_VIT_CLIENT_CLIENT_OPTIONS_H_
