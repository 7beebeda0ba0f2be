#ifndef MNIST_VIT_SERVER_OPTIONS_OPTIONS_H_
#define MNIST_VIT_SERVER_OPTIONS_OPTIONS_H_

#include <functional>
#include <span>
#include <string>

#include "absl/status/statusor.h"

namespace vit {

// What an operator chooses, with the defaults. Names end in the unit. What
// each option means, its range and its choices are in option_table.cc, which
// has one entry for each member; `vit-server --help` prints them.
//
// An address is host:port (port 0 picks a free port), [IPv6]:port or
// unix:/path. Empty text means none, or off.
struct ServerOptions {
  // Models.
  std::string model = "model/weights/mnist-vit.safetensors";
  std::string model_repository;
  std::string golden;              // empty: beside the model; "none": no check
  std::string precision = "auto";  // auto, f32, bf16 or int8
  int versions = 2;
  int canary_percent = 0;
  int model_poll_seconds = 0;  // 0: off

  // Where the server listens. admin_address and debug_address may be empty.
  std::string address = "0.0.0.0:50051";
  std::string http_address = "0.0.0.0:8080";
  std::string admin_address = "127.0.0.1:50052";
  std::string debug_address = "127.0.0.1:8081";
  bool reflection = true;

  // Work. After ParseOptions, max_batch_size <= max_queue_size and
  // max_images_per_call <= max_queue_size.
  int workers = 0;  // 0: the CPUs granted
  int max_batch_size = 32;
  int max_queue_delay_us = 0;
  int max_queue_size = 1024;
  int max_images_per_call = 256;
  int max_explanations = 4;

  // Connections.
  int max_calls_per_connection = 0;  // 0: as many as fit workers and batches
  int max_connections = 0;   // 0: from the memory budget and descriptors
  int memory_budget_mb = 0;  // 0: half of the control group's memory
  int connection_idle_seconds = 300;  // 0: no limit
  int connection_age_seconds = 600;   // 0: no limit
  int connection_age_grace_seconds = 30;
  int keepalive_seconds = 30;
  int message_timeout_seconds = 10;
  int write_timeout_seconds = 5;

  // Deadlines. After ParseOptions, default_deadline_ms <= max_deadline_ms
  // unless that is 0.
  int default_deadline_ms = 60'000;  // 0: none
  int max_deadline_ms = 300'000;     // 0: none

  // Shutdown and supervision.
  int lame_duck_seconds = 3;
  int drain_timeout_seconds = 15;
  int watchdog_seconds = 30;  // 0: off

  // Security: files. The certificate and the key come together, and the
  // client's authority only with them.
  std::string tls_certificate;
  std::string tls_key;
  std::string tls_client_ca;
  std::string tokens;

  // Logs.
  std::string log_format = "text";  // text or json
  int slow_request_ms = 1000;       // 0: off
};

// What the command line asks for.
struct ParsedOptions {
  // Valid, unless `text` is set.
  ServerOptions options = {};
  // --check_config: load the model, say whether all is valid, and exit.
  bool check_config = false;
  // --help or --version: print this and exit with 0. Empty otherwise.
  std::string text;
};

// The value of an environment variable; nullptr if it is not set. The text
// lives until ParseOptions returns.
using Environment = std::function<const char*(const char* name)>;

// Reads `args`, the command line without the program's name. A flag
// (--name=value or --name value; the last one, if there are several) wins over
// the variable VIT_NAME, which wins over the file that --config or VIT_CONFIG
// names, which wins over the default. --help anywhere wins over everything
// else, then
// --version, which prints `version`.
//
// InvalidArgument for what is not an option or not a valid value, in any
// source, even where a better source overrides it; NotFound for a file that
// cannot be read. The message names the source (flag, variable, or file, line
// and key), what was found and what is expected.
//
// Uses no global state; thread-safe if `environment` is.
absl::StatusOr<ParsedOptions> ParseOptions(std::span<const char* const> args,
                                           const std::string& version,
                                           const Environment& environment);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_OPTIONS_OPTIONS_H_
