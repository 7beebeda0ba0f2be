#include "server/base/retry_after.h"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>

namespace vit {
namespace {

TEST(RetryAfterTest, AStatusSaysWhatItWasTold) {
  absl::Status status = absl::ResourceExhaustedError("full");
  EXPECT_EQ(RetryAfter(status), std::nullopt);
  SetRetryAfter(std::chrono::microseconds(1500), &status);
  EXPECT_EQ(RetryAfter(status), std::chrono::microseconds(1500));
  EXPECT_EQ(status.message(), "full");
  SetRetryAfter(std::chrono::hours(1), &status);
  EXPECT_EQ(RetryAfter(status), std::chrono::hours(1));
}

}  // namespace
}  // namespace vit
