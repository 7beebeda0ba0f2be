#include "server/batching/batch_policy.h"

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

// A full batch of 8 costs 10 ms.
constexpr BatchCost kCost{.per_image = milliseconds(1),
                          .per_batch = milliseconds(2)};
constexpr Clock::duration kNoTime{1};

// The only worker needs 4 ms yet.
constexpr LoadView kBusy{
    .waiting = 0, .places = 100, .workers = 1, .under_way = milliseconds(4)};

// Expects that a task with this much time is just admitted, and with less is
// not.
void ExpectDoneAfter(Clock::duration expected, const LoadView& load,
                     size_t count = 1) {
  const BatchPolicyOptions options = WithDelay({});
  EXPECT_EQ(Admit(options, load, kCost, count, expected).verdict,
            AdmissionDecision::Verdict::kAdmitted);
  const AdmissionDecision late =
      Admit(options, load, kCost, count, expected - milliseconds(3));
  EXPECT_EQ(late.verdict, AdmissionDecision::Verdict::kLate);
  EXPECT_EQ(late.expected, expected);
  EXPECT_EQ(late.retry_after, Clock::duration(0));
}

TEST(AdmitTest, WithoutACostNothingIsLate) {
  LoadView load = kBusy;
  load.waiting = 50;
  EXPECT_EQ(Admit(WithDelay({}), load, std::nullopt, 1, kNoTime).verdict,
            AdmissionDecision::Verdict::kAdmitted);
}

TEST(AdmitTest, AnIdleServerTakesWhateverFits) {
  LoadView load = kBusy;
  load.free_workers = 1;
  EXPECT_EQ(Admit(WithDelay({}), load, kCost, 100, kNoTime).verdict,
            AdmissionDecision::Verdict::kAdmitted);
}

TEST(AdmitTest, ATaskWaitsForTheBatchUnderWayAndForItsOwn) {
  // 4 ms and a quarter of it, and twice the 3 ms of one image.
  ExpectDoneAfter(milliseconds(11), kBusy);
}

TEST(AdmitTest, ATaskWaitsForAllBatchesInFrontOfIt) {
  LoadView load = kBusy;
  load.waiting = 20;
  // Two full batches after the one under way, then a third with the task.
  ExpectDoneAfter(milliseconds(50), load);
}

TEST(AdmitTest, WorkersShareTheQueue) {
  LoadView load = kBusy;
  load.waiting = 20;
  load.workers = 2;
  ExpectDoneAfter(milliseconds(35), load);
}

TEST(AdmitTest, FreeWorkersBeginAtOnce) {
  LoadView load = kBusy;
  load.waiting = 5;
  load.workers = 3;
  load.free_workers = 2;
  // Three images each.
  ExpectDoneAfter(milliseconds(10), load);
}

TEST(AdmitTest, OfManyTasksTheLastDecides) {
  ExpectDoneAfter(milliseconds(50), kBusy, 21);
}

TEST(AdmitTest, WhatDoesNotFitComesAgainWhenThereWillBePlaces) {
  LoadView load = kBusy;
  load.waiting = 100;
  load.places = 2;
  const BatchPolicyOptions options = WithDelay({});
  const Clock::duration left = std::chrono::hours(1);
  const AdmissionDecision one = Admit(options, load, kCost, 3, left);
  EXPECT_EQ(one.verdict, AdmissionDecision::Verdict::kFull);
  EXPECT_EQ(one.retry_after, milliseconds(4));
  EXPECT_EQ(Admit(options, load, kCost, 2 + 9, left).retry_after,
            milliseconds(14));
  const AdmissionDecision unknown = Admit(options, load, std::nullopt, 3, left);
  EXPECT_EQ(unknown.verdict, AdmissionDecision::Verdict::kFull);
  EXPECT_EQ(unknown.retry_after, Clock::duration(0));
}

}  // namespace
}  // namespace vit
