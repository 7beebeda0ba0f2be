#include "server/batch_policy.h"

#include <gtest/gtest.h>

namespace vit {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr Clock::time_point kStart{std::chrono::hours(1)};
constexpr Clock::time_point kNever = Clock::time_point::max();

BatchPolicyOptions WithDelay(Clock::duration delay) {
  return {.max_batch_size = 8, .max_queue_delay = delay};
}

// The view of a queue whose tasks all arrived at kStart.
QueueView Waiting(const BatchPolicyOptions& options, size_t count) {
  return {.waiting = count, .earliest_due = DueTime(options, kStart, kNever)};
}

TEST(BatchPolicyTest, AnEmptyQueueIsWaitedForWithoutATimer) {
  const BatchDecision decision = Decide(WithDelay({}), {}, kStart, 1);
  EXPECT_EQ(decision.take, 0);
  EXPECT_EQ(decision.wake_at, kNever);
}

TEST(BatchPolicyTest, WithoutADelayAFreeWorkerTakesWhatWaits) {
  const BatchPolicyOptions options = WithDelay({});
  EXPECT_EQ(Decide(options, Waiting(options, 1), kStart, 1).take, 1);
  EXPECT_EQ(Decide(options, Waiting(options, 5), kStart, 1).take, 5);
}

TEST(BatchPolicyTest, ABatchIsNeverLargerThanTheLimit) {
  const BatchPolicyOptions options = WithDelay({});
  EXPECT_EQ(Decide(options, Waiting(options, 100), kStart, 1).take, 8);
  EXPECT_EQ(Decide(options, Waiting(options, 100), kStart, 2).take, 8);
}

TEST(BatchPolicyTest, FreeWorkersShareWhatWaits) {
  const BatchPolicyOptions options = WithDelay({});
  EXPECT_EQ(Decide(options, Waiting(options, 6), kStart, 2).take, 3);
  EXPECT_EQ(Decide(options, Waiting(options, 5), kStart, 2).take, 3);
  EXPECT_EQ(Decide(options, Waiting(options, 1), kStart, 4).take, 1);
}

TEST(BatchPolicyTest, WithADelayAPartBatchWaitsUntilTheDelayHasPassed) {
  const BatchPolicyOptions options = WithDelay(milliseconds(2));
  const QueueView queue = Waiting(options, 3);
  const BatchDecision early =
      Decide(options, queue, kStart + microseconds(1999), 1);
  EXPECT_EQ(early.take, 0);
  EXPECT_EQ(early.wake_at, kStart + milliseconds(2));
  EXPECT_EQ(Decide(options, queue, kStart + milliseconds(2), 1).take, 3);
}

TEST(BatchPolicyTest, TheDelayCountsFromArrivalHoweverLateAWorkerIsFree) {
  const BatchPolicyOptions options = WithDelay(milliseconds(2));
  const QueueView queue = Waiting(options, 3);
  EXPECT_EQ(Decide(options, queue, kStart + milliseconds(50), 1).take, 3);
}

TEST(BatchPolicyTest, AFullBatchDoesNotWaitForTheDelay) {
  const BatchPolicyOptions options = WithDelay(milliseconds(2));
  EXPECT_EQ(Decide(options, Waiting(options, 8), kStart, 1).take, 8);
}

TEST(BatchPolicyTest, NoTaskWaitsPastHalfTheTimeToItsDeadline) {
  const BatchPolicyOptions options = WithDelay(milliseconds(100));
  EXPECT_EQ(DueTime(options, kStart, kStart + milliseconds(10)),
            kStart + milliseconds(5));
  EXPECT_EQ(DueTime(options, kStart, kStart + milliseconds(500)),
            kStart + milliseconds(100));
  EXPECT_EQ(DueTime(options, kStart, kNever), kStart + milliseconds(100));
}

TEST(BatchPolicyTest, ATaskThatIsLateAlreadyIsDueAtOnce) {
  EXPECT_EQ(DueTime(WithDelay(milliseconds(1)), kStart, kStart), kStart);
}

}  // namespace
}  // namespace vit
