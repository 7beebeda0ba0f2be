#include "server/rpc/status.h"

#include <grpc/support/time.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/base/retry_after.h"

namespace vit {

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      std::string(status.message()));
}

void AddRetryHint(const absl::Status& status, grpc::ServerContext& context) {
  const std::optional<Clock::duration> wait = RetryAfter(status);
  if (!wait.has_value()) return;
  const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(*wait);
  context.AddTrailingMetadata("grpc-retry-pushback-ms",
                              absl::StrCat(milliseconds.count()));
}

Clock::time_point Deadline(const grpc::ServerContext& context) {
  // More would not fit into nanoseconds.
  constexpr int64_t kForever = int64_t{1} << 32;  // seconds
  // gRPC's monotonic clock is Clock: CLOCK_MONOTONIC, from the same zero.
  const gpr_timespec deadline =
      gpr_convert_clock_type(context.raw_deadline(), GPR_CLOCK_MONOTONIC);
  if (deadline.tv_sec >= kForever) return Clock::time_point::max();
  if (deadline.tv_sec < 0) return Clock::time_point::min();
  return Clock::time_point(std::chrono::seconds(deadline.tv_sec) +
                           std::chrono::nanoseconds(deadline.tv_nsec));
}

}  // namespace vit
