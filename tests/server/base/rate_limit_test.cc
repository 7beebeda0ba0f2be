#include "server/base/rate_limit.h"

#include <gtest/gtest.h>

#include <chrono>

namespace vit {
namespace {

using std::chrono::milliseconds;

constexpr Clock::time_point kStart{std::chrono::hours(5)};
constexpr Clock::duration kNow{0};

// How many events may happen at this time.
int CountAt(RateLimit& limit, Clock::time_point now) {
  int count = 0;
  while (limit.Take(now) == kNow) ++count;
  return count;
}

TEST(RateLimitTest, LetsASecondsEventsThroughAtOnceThenOneAfterAnother) {
  RateLimit limit(4);
  EXPECT_EQ(CountAt(limit, kStart), 4);
  EXPECT_EQ(limit.Take(kStart), milliseconds(250));
  EXPECT_EQ(limit.Take(kStart + milliseconds(249)), milliseconds(1));
  EXPECT_EQ(CountAt(limit, kStart + milliseconds(250)), 1);
  EXPECT_EQ(CountAt(limit, kStart + milliseconds(1000)), 3);
}

TEST(RateLimitTest, ARefusedEventCostsNothing) {
  RateLimit limit(2);
  EXPECT_EQ(CountAt(limit, kStart), 2);
  for (int i = 0; i < 100; ++i) EXPECT_NE(limit.Take(kStart), kNow);
  EXPECT_EQ(CountAt(limit, kStart + milliseconds(500)), 1);
}

TEST(RateLimitTest, ALongSilenceSavesUpNoMoreThanASecond) {
  RateLimit limit(3);
  EXPECT_EQ(CountAt(limit, kStart), 3);
  EXPECT_EQ(CountAt(limit, kStart + std::chrono::hours(24)), 3);
}

TEST(RateLimitTest, LessThanOneASecondIsOneAtATime) {
  RateLimit limit(0.1);
  EXPECT_EQ(CountAt(limit, kStart), 1);
  EXPECT_EQ(limit.Take(kStart + milliseconds(4000)), milliseconds(6000));
  EXPECT_EQ(CountAt(limit, kStart + milliseconds(10'000)), 1);
}

}  // namespace
}  // namespace vit
