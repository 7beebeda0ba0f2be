#include "server/base/retry_after.h"

#include <chrono>
#include <cstdint>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace vit {
namespace {

// The type of the status payload: nanoseconds, in decimal.
constexpr char kRetryAfter[] = "vit.retry-after";

}  // namespace

void SetRetryAfter(Clock::duration wait, absl::Status* status) {
  const std::chrono::nanoseconds nanoseconds = wait;
  // As a view: GCC and Clang disagree on the name of the other constructor.
  const std::string text = absl::StrCat(nanoseconds.count());
  status->SetPayload(kRetryAfter, absl::Cord(absl::string_view(text)));
}

std::optional<Clock::duration> RetryAfter(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryAfter);
  int64_t nanoseconds = 0;
  if (!payload.has_value() ||
      !absl::SimpleAtoi(std::string(*payload), &nanoseconds)) {
    return std::nullopt;
  }
  return std::chrono::nanoseconds(nanoseconds);
}

}  // namespace vit
