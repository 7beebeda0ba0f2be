#ifndef MNIST_VIT_SERVER_OPTIONS_OPTIONS_H_
#define MNIST_VIT_SERVER_OPTIONS_OPTIONS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace vit {

// What an operator chooses. Each field is the flag of the same name and the
// environment variable VIT_ and the name in capitals; a flag wins.
struct ServerOptions {
  // A safetensors file with timm's names; see model/weights.h.
  std::string model;
  // The golden images that the model must get right before the server is
  // ready. Empty: NAME.golden.safetensors beside NAME.safetensors. "none": no
  // check.
  std::string golden;
  std::string address;       // gRPC, host:port; port 0 picks a free one
  std::string http_address;  // the same for metrics and probes
  std::string precision;     // auto, f32, bf16 or int8
  int workers = 0;           // threads that compute; 0: the CPUs granted
  int max_batch_size = 0;    // images, 1 to 1024
  int max_queue_delay_us = 0;
  int max_queue_size = 0;            // images, at least max_batch_size
  int max_calls_per_connection = 0;  // 0: as many as fit workers and batches
  int drain_timeout_seconds = 0;
};

// Reads the environment, then the command line. --help prints and exits, as
// does a flag that does not exist or has a value of the wrong type.
// InvalidArgument, naming the variable or flag, what was found and what is
// expected, for everything else.
absl::StatusOr<ServerOptions> ParseOptions(int argc, char** argv);

// What ParseOptions checks after reading.
absl::Status Validate(const ServerOptions& options);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_OPTIONS_OPTIONS_H_
