#include "client/client_options.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

namespace vit::client {
namespace {

// gRPC takes more for a mistake and lowers it.
constexpr int kMaxAttempts = 5;

constexpr char kService[] = "vit.v1.Classifier";

// Each failed attempt takes one token and each success gives kTokenRatio back;
// at half of the tokens or fewer, nothing is retried (gRFC A6).
//
// A roll-out fails at most the calls that are in flight to one server, so 500
// tokens last, and the successes in between bring them back. Under overload
// most attempts fail: once the tokens are spent, retries add no more than a
// tenth to the load. 1000 is the most that gRFC A6 allows.
constexpr int kMaxTokens = 1000;
constexpr double kTokenRatio = 0.1;

std::string JsonSeconds(absl::Duration duration) {
  return absl::StrFormat("%.6fs", absl::ToDoubleSeconds(duration));
}

}  // namespace

absl::Status Validate(const ClientOptions& options) {
  const auto invalid = [](const std::string& what) {
    return absl::InvalidArgumentError(what);
  };
  if (options.target.empty()) return invalid("the server's address is empty");
  if (options.deadline <= absl::ZeroDuration()) {
    return invalid("the deadline must be more than zero");
  }
  if (options.max_attempts < 1 || options.max_attempts > kMaxAttempts) {
    return invalid(absl::StrCat("max_attempts is ", options.max_attempts,
                                ", expected 1 to ", kMaxAttempts));
  }
  if (options.initial_backoff < absl::Microseconds(1) ||
      options.max_backoff < options.initial_backoff ||
      !(options.backoff_multiplier > 0)) {
    return invalid("the backoff must be more than zero");
  }
  return absl::OkStatus();
}

std::string ServiceConfigJson(const ClientOptions& options) {
  nlohmann::json calls = {{"name", {{{"service", kService}}}}};
  // gRPC refuses a retry policy of one attempt.
  if (options.max_attempts > 1) {
    calls["retryPolicy"] = {
        {"maxAttempts", options.max_attempts},
        {"initialBackoff", JsonSeconds(options.initial_backoff)},
        {"maxBackoff", JsonSeconds(options.max_backoff)},
        {"backoffMultiplier", options.backoff_multiplier},
        {"retryableStatusCodes", {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}}};
  }
  // ClassifyStream of this library resumes by itself and knows what was
  // answered, which gRPC does not.
  const nlohmann::json streams = {
      {"name", {{{"service", kService}, {"method", "ClassifyStream"}}}}};
  const nlohmann::json round_robin = {
      {"round_robin", nlohmann::json::object()}};
  const nlohmann::json config = {
      {"loadBalancingConfig", nlohmann::json::array({round_robin})},
      {"healthCheckConfig", {{"serviceName", kService}}},
      {"retryThrottling",
       {{"maxTokens", kMaxTokens}, {"tokenRatio", kTokenRatio}}},
      {"methodConfig", nlohmann::json::array({calls, streams})}};
  return config.dump();
}

}  // namespace vit::client
