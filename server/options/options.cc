#include "server/options/options.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/reflection.h"
#include "absl/strings/str_cat.h"

ABSL_FLAG(std::string, model, "model/weights/mnist-vit.safetensors",
          "Weights file (VIT_MODEL)");
ABSL_FLAG(std::string, golden, "",
          "Golden images that the model must get right before the server is "
          "ready; empty: NAME.golden.safetensors beside the weights file; "
          "none: no check (VIT_GOLDEN)");
ABSL_FLAG(std::string, address, "0.0.0.0:50051",
          "Where gRPC listens, host:port; port 0 picks one (VIT_ADDRESS)");
ABSL_FLAG(std::string, http_address, "0.0.0.0:8080",
          "Where /metrics, /healthz and /readyz listen, host:port; port 0 "
          "picks one (VIT_HTTP_ADDRESS)");
ABSL_FLAG(std::string, precision, "auto",
          "What matrix products are computed in: f32, bf16, int8, or auto: "
          "the first of int8, bf16 and f32 that the model, this CPU and the "
          "golden images allow (VIT_PRECISION)");
ABSL_FLAG(int, workers, 0,
          "Threads that compute; 0: as many as the CPUs that the control group "
          "grants (VIT_WORKERS)");
ABSL_FLAG(int, max_batch_size, 32,
          "Most images computed together, 1 to 1024 (VIT_MAX_BATCH_SIZE)");
ABSL_FLAG(int, max_queue_delay_us, 0,
          "How long an image may wait, from its arrival, for others to share "
          "its batch, in microseconds; 0: a free worker never waits "
          "(VIT_MAX_QUEUE_DELAY_US)");
ABSL_FLAG(int, max_queue_size, 1024,
          "Most images that wait; more are rejected at once "
          "(VIT_MAX_QUEUE_SIZE)");
ABSL_FLAG(int, max_calls_per_connection, 0,
          "Most calls that one connection may have under way, health watches "
          "and streams included; more wait with the client. 0: enough for two "
          "full batches for each worker, at least 100 "
          "(VIT_MAX_CALLS_PER_CONNECTION)");
ABSL_FLAG(int, drain_timeout_seconds, 30,
          "How long a shutdown lets accepted calls finish "
          "(VIT_DRAIN_TIMEOUT_SECONDS)");

namespace vit {
namespace {

constexpr std::array<std::string_view, 4> kPrecisions = {"auto", "f32", "bf16",
                                                         "int8"};

constexpr std::array kFlags = {"model",
                               "golden",
                               "address",
                               "http_address",
                               "precision",
                               "workers",
                               "max_batch_size",
                               "max_queue_delay_us",
                               "max_queue_size",
                               "max_calls_per_connection",
                               "drain_timeout_seconds"};

std::string VariableName(const std::string& flag) {
  std::string name = "VIT_";
  for (const char c : flag) {
    name += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return name;
}

absl::Status ReadEnvironment() {
  for (const char* flag : kFlags) {
    const std::string variable = VariableName(flag);
    const char* value = std::getenv(variable.c_str());
    if (value == nullptr) continue;
    std::string error;
    if (!absl::FindCommandLineFlag(flag)->ParseFrom(value, &error)) {
      return absl::InvalidArgumentError(absl::StrCat(
          variable, ": '", value, "' is no value for --", flag, ": ", error));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRange(const char* flag, int value, int low, int high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", flag, " (", VariableName(flag), "): expected ", low,
                   " to ", high, ", found ", value));
}

// host:port, the host perhaps an IPv6 address in brackets.
absl::Status CheckAddress(const char* flag, const std::string& value) {
  const size_t colon = value.rfind(':');
  bool valid = colon != std::string::npos && colon > 0 &&
               colon + 1 < value.size() && value.size() - colon <= 6;
  int port = 0;
  for (size_t i = valid ? colon + 1 : value.size(); i < value.size(); ++i) {
    valid = valid && value[i] >= '0' && value[i] <= '9';
    port = 10 * port + (value[i] - '0');
  }
  if (valid && port <= 65535) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "--", flag, " (", VariableName(flag),
      "): expected host:port, such as 0.0.0.0:50051, found '", value, "'"));
}

}  // namespace

absl::Status Validate(const ServerOptions& options) {
  if (options.model.empty()) {
    return absl::InvalidArgumentError(
        "--model (VIT_MODEL): expected a weights file, found nothing");
  }
  if (std::find(kPrecisions.begin(), kPrecisions.end(), options.precision) ==
      kPrecisions.end()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--precision (VIT_PRECISION): expected auto, f32, bf16 or int8, found '",
        options.precision, "'"));
  }
  const std::array checks = {
      CheckAddress("address", options.address),
      CheckAddress("http_address", options.http_address),
      CheckRange("workers", options.workers, 0, 1024),
      CheckRange("max_batch_size", options.max_batch_size, 1, 1024),
      CheckRange("max_queue_delay_us", options.max_queue_delay_us, 0,
                 10'000'000),
      CheckRange("max_queue_size", options.max_queue_size,
                 options.max_batch_size, 1'000'000),
      CheckRange("max_calls_per_connection", options.max_calls_per_connection,
                 0, 1'000'000),
      CheckRange("drain_timeout_seconds", options.drain_timeout_seconds, 0,
                 3600)};
  for (const absl::Status& check : checks) {
    if (!check.ok()) return check;
  }
  return absl::OkStatus();
}

absl::StatusOr<ServerOptions> ParseOptions(int argc, char** argv) {
  if (absl::Status status = ReadEnvironment(); !status.ok()) return status;
  const std::vector<char*> rest = absl::ParseCommandLine(argc, argv);
  if (rest.size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "expected flags only, found '", rest[1], "'; --help lists them"));
  }
  ServerOptions options;
  options.model = absl::GetFlag(FLAGS_model);
  options.golden = absl::GetFlag(FLAGS_golden);
  options.address = absl::GetFlag(FLAGS_address);
  options.http_address = absl::GetFlag(FLAGS_http_address);
  options.precision = absl::GetFlag(FLAGS_precision);
  options.workers = absl::GetFlag(FLAGS_workers);
  options.max_batch_size = absl::GetFlag(FLAGS_max_batch_size);
  options.max_queue_delay_us = absl::GetFlag(FLAGS_max_queue_delay_us);
  options.max_queue_size = absl::GetFlag(FLAGS_max_queue_size);
  options.max_calls_per_connection =
      absl::GetFlag(FLAGS_max_calls_per_connection);
  options.drain_timeout_seconds = absl::GetFlag(FLAGS_drain_timeout_seconds);
  if (absl::Status status = Validate(options); !status.ok()) return status;
  return options;
}

}  // namespace vit
