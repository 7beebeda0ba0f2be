#include "server/batching/batch_scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <random>
#include <thread>

#include "server/base/retry_after.h"
#include "tests/server/fake_classifier.h"

namespace vit {
namespace {

using ::testing::ElementsAre;
using testing::FakeClassifiers;
using testing::FakeControl;
using ::testing::HasSubstr;

// Remembers its answer.
class RecordedTask : public BatchTask {
 public:
  explicit RecordedTask(int value) : bytes_(testing::FakeImage(value)) {
    const auto* data = reinterpret_cast<const uint8_t*>(bytes_.data());
    image = Image{std::span(data, bytes_.size())};
  }

  void Done(const absl::Status& status, const Prediction* prediction,
            const TaskTiming& timing) override {
    std::lock_guard lock(mutex_);
    ++answers_;
    answered_by_ = std::this_thread::get_id();
    // Not shared between threads: ThreadSanitizer does not see how a shared
    // Abseil library counts a status's owners.
    status_ = absl::Status(status.code(), status.message());
    timing_ = timing;
    if (prediction != nullptr) label_ = prediction->label;
    answered_.notify_all();
  }

  absl::Status Wait() {
    std::unique_lock lock(mutex_);
    answered_.wait(lock, [&] { return answers_ > 0; });
    return status_;
  }
  int answers() {
    std::lock_guard lock(mutex_);
    return answers_;
  }
  int label() {
    std::lock_guard lock(mutex_);
    return label_;
  }
  TaskTiming timing() {
    std::lock_guard lock(mutex_);
    return timing_;
  }
  std::thread::id answered_by() {
    std::lock_guard lock(mutex_);
    return answered_by_;
  }

 private:
  const std::string bytes_;
  std::mutex mutex_;
  std::condition_variable answered_;
  int answers_ = 0;
  int label_ = -1;
  absl::Status status_;
  TaskTiming timing_;
  std::thread::id answered_by_;
};

class CountingObserver : public BatchObserver {
 public:
  void OnRejected(Rejection reason, size_t tasks) override {
    (reason == Rejection::kFull ? full : late) += tasks;
  }
  void OnQueueDepth(size_t) override {}
  void OnTaken(Clock::duration) override { ++taken; }
  void OnDropped(Drop reason) override {
    ++(reason == Drop::kExpired ? expired : cancelled);
  }
  void OnBatch(size_t size, Clock::duration) override { computed += size; }
  void OnCost(const BatchCost&) override { ++costs; }

  std::atomic<size_t> full{0}, late{0}, taken{0}, expired{0}, cancelled{0},
      computed{0}, costs{0};
};

class BatchSchedulerTest : public ::testing::Test {
 protected:
  void Start(int workers, size_t max_queue_size = 1024,
             Clock::duration delay = {}, const DurationModel& durations = {}) {
    BatchSchedulerOptions options;
    options.durations = durations;
    options.policy = {.max_batch_size = 8, .max_queue_delay = delay};
    options.max_queue_size = max_queue_size;
    scheduler_ = std::make_unique<BatchScheduler>(
        options, FakeClassifiers(control_, workers), &observer_);
  }

  // What is known of batches that take this long, however many images.
  static DurationModel Always(Clock::duration took) {
    DurationModel durations;
    for (int i = 0; i < 100; ++i) durations.Learn(1, took);
    return durations;
  }

  // A task that keeps the one worker busy until the gate opens.
  void KeepWorkerBusy() {
    control_->ShutGate();
    ASSERT_TRUE(scheduler_->Submit(&first_).ok());
    control_->WaitForBatches(1);
  }

  RecordedTask first_{1};
  CountingObserver observer_;
  std::shared_ptr<FakeControl> control_ = std::make_shared<FakeControl>();
  std::unique_ptr<BatchScheduler> scheduler_;
};

TEST_F(BatchSchedulerTest, AnIdleWorkerComputesATaskAlone) {
  Start(1);
  RecordedTask task(7);
  ASSERT_TRUE(scheduler_->Submit(&task).ok());
  EXPECT_TRUE(task.Wait().ok());
  EXPECT_EQ(task.label(), 7);
  EXPECT_EQ(task.timing().batch_size, 1);
}

TEST_F(BatchSchedulerTest, WhatWaitsForABusyWorkerIsComputedTogether) {
  Start(1);
  KeepWorkerBusy();
  std::deque<RecordedTask> tasks;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(scheduler_->Submit(&tasks.emplace_back(i)).ok());
  }
  control_->OpenGate();
  scheduler_->Drain();
  EXPECT_THAT(control_->batch_sizes(), ElementsAre(1, 8, 8, 4));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(tasks[i].label(), i % 10);
}

TEST_F(BatchSchedulerTest, AFullQueueRejectsAtOnceAndNeverAnswers) {
  Start(1, /*max_queue_size=*/2);
  KeepWorkerBusy();
  RecordedTask second(2), third(3), fourth(4);
  ASSERT_TRUE(scheduler_->Submit(&second).ok());
  ASSERT_TRUE(scheduler_->Submit(&third).ok());
  const absl::Status status = scheduler_->Submit(&fourth);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("2 of 2"));
  EXPECT_EQ(observer_.full, 1);
  control_->OpenGate();
  scheduler_->Drain();
  EXPECT_EQ(third.answers(), 1);
  EXPECT_EQ(fourth.answers(), 0);
}

TEST_F(BatchSchedulerTest, ManyTasksAreTakenTogetherOrNotAtAll) {
  Start(1, /*max_queue_size=*/3);
  KeepWorkerBusy();
  RecordedTask a(1), b(2), c(3), d(4);
  const std::vector<BatchTask*> two = {&a, &b};
  const std::vector<BatchTask*> others = {&c, &d};
  EXPECT_TRUE(scheduler_->SubmitAll(two).ok());
  EXPECT_EQ(scheduler_->SubmitAll(others).code(),
            absl::StatusCode::kResourceExhausted);
  control_->OpenGate();
  scheduler_->Drain();
  EXPECT_EQ(a.answers() + b.answers(), 2);
  EXPECT_EQ(c.answers() + d.answers(), 0);
}

TEST_F(BatchSchedulerTest, AnExpiredTaskIsAnsweredWithoutBeingComputed) {
  Start(1);
  KeepWorkerBusy();
  RecordedTask expired(5), alive(6);
  expired.deadline = Clock::now();
  ASSERT_TRUE(scheduler_->Submit(&expired).ok());
  ASSERT_TRUE(scheduler_->Submit(&alive).ok());
  control_->OpenGate();
  EXPECT_EQ(expired.Wait().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(alive.Wait().ok());
  EXPECT_THAT(control_->computed(), ElementsAre(1, 6));
  EXPECT_EQ(observer_.expired, 1);
}

TEST_F(BatchSchedulerTest, ACancelledTaskIsAnsweredWithoutBeingComputed) {
  Start(1);
  KeepWorkerBusy();
  RecordedTask cancelled(5), alive(6);
  ASSERT_TRUE(scheduler_->Submit(&cancelled).ok());
  ASSERT_TRUE(scheduler_->Submit(&alive).ok());
  cancelled.Cancel();
  control_->OpenGate();
  EXPECT_EQ(cancelled.Wait().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(alive.Wait().ok());
  EXPECT_THAT(control_->computed(), ElementsAre(1, 6));
  EXPECT_EQ(observer_.cancelled, 1);
}

TEST_F(BatchSchedulerTest, WhatWouldBeLateIsRejectedAtOnceAndNeverAnswered) {
  Start(1, 1024, {}, Always(std::chrono::hours(1)));
  KeepWorkerBusy();
  RecordedTask late(2), patient(3), endless(4);
  late.deadline = Clock::now() + std::chrono::hours(1);
  const absl::Status status = scheduler_->Submit(&late);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("would be late"));
  EXPECT_THAT(status.message(), HasSubstr("try again in"));
  ASSERT_TRUE(RetryAfter(status).has_value());
  // An hour and a quarter for the batch under way, two for its own.
  EXPECT_GT(*RetryAfter(status), std::chrono::hours(1));
  EXPECT_LE(*RetryAfter(status), std::chrono::minutes(135));
  patient.deadline = Clock::now() + std::chrono::hours(4);
  EXPECT_TRUE(scheduler_->Submit(&patient).ok());
  EXPECT_TRUE(scheduler_->Submit(&endless).ok());
  control_->OpenGate();
  scheduler_->Drain();
  EXPECT_EQ(observer_.late, 1);
  EXPECT_EQ(late.answers(), 0);
  EXPECT_EQ(patient.answers(), 1);
  EXPECT_EQ(endless.answers(), 1);
}

TEST_F(BatchSchedulerTest, OneLateTaskOfManyRejectsAll) {
  Start(1, 1024, {}, Always(std::chrono::hours(1)));
  KeepWorkerBusy();
  RecordedTask late(2), patient(3);
  late.deadline = Clock::now() + std::chrono::hours(1);
  const std::vector<BatchTask*> both = {&patient, &late};
  EXPECT_EQ(scheduler_->SubmitAll(both).code(),
            absl::StatusCode::kResourceExhausted);
  control_->OpenGate();
  scheduler_->Drain();
  EXPECT_EQ(observer_.late, 2);
  EXPECT_EQ(patient.answers(), 0);
}

TEST_F(BatchSchedulerTest, AnIdleWorkerTriesAndSoLearnsThatItIsQuicker) {
  Start(1, 1024, {}, Always(std::chrono::hours(1)));
  // Each comes when the one before is answered, perhaps before its worker is
  // free again.
  constexpr size_t kTasks = 100;
  std::deque<RecordedTask> tasks;
  while (observer_.computed < kTasks) {
    RecordedTask& task = tasks.emplace_back(1);
    task.deadline = Clock::now() + std::chrono::minutes(1);
    if (scheduler_->Submit(&task).ok()) {
      EXPECT_TRUE(task.Wait().ok());
    }
  }
  control_->ShutGate();
  ASSERT_TRUE(scheduler_->Submit(&first_).ok());
  control_->WaitForBatches(kTasks + 1);
  RecordedTask next(2);
  next.deadline = Clock::now() + std::chrono::minutes(1);
  EXPECT_TRUE(scheduler_->Submit(&next).ok());
  control_->OpenGate();
  scheduler_->Drain();
}

TEST_F(BatchSchedulerTest, AQuickTaskThatComesAloneIsComputedByItsCaller) {
  Start(2, 1024, {}, Always(std::chrono::microseconds(1)));
  RecordedTask task(7);
  ASSERT_TRUE(scheduler_->ComputeOrSubmit(&task).ok());
  EXPECT_EQ(task.answers(), 1);
  EXPECT_EQ(task.answered_by(), std::this_thread::get_id());
  EXPECT_EQ(task.label(), 7);
  EXPECT_EQ(task.timing().batch_size, 1);
  EXPECT_EQ(observer_.taken, 1);
}

TEST_F(BatchSchedulerTest, ATaskThatTakesLongIsLeftToAWorker) {
  Start(1, 1024, {}, Always(std::chrono::milliseconds(1)));
  RecordedTask task(7);
  ASSERT_TRUE(scheduler_->ComputeOrSubmit(&task).ok());
  EXPECT_TRUE(task.Wait().ok());
  EXPECT_NE(task.answered_by(), std::this_thread::get_id());
}

TEST_F(BatchSchedulerTest, AQuickTaskIsComputedByItsCallerBesideABusyWorker) {
  Start(2, 1024, {}, Always(std::chrono::microseconds(1)));
  control_->ShutGate();
  ASSERT_TRUE(scheduler_->Submit(&first_).ok());
  control_->WaitForBatches(1);
  RecordedTask second(2);
  std::thread caller(
      [&] { EXPECT_TRUE(scheduler_->ComputeOrSubmit(&second).ok()); });
  const std::thread::id caller_id = caller.get_id();
  control_->WaitForBatches(2);
  control_->OpenGate();
  caller.join();
  EXPECT_EQ(second.answered_by(), caller_id);
}

TEST_F(BatchSchedulerTest, WithADelayEveryTaskIsLeftToAWorker) {
  Start(1, 1024, std::chrono::microseconds(1),
        Always(std::chrono::microseconds(1)));
  RecordedTask task(7);
  ASSERT_TRUE(scheduler_->ComputeOrSubmit(&task).ok());
  EXPECT_TRUE(task.Wait().ok());
  EXPECT_NE(task.answered_by(), std::this_thread::get_id());
}

TEST_F(BatchSchedulerTest, WhatComesWhileACallerComputesIsComputedNext) {
  Start(1, 1024, {}, Always(std::chrono::microseconds(1)));
  control_->ShutGate();
  std::thread caller(
      [&] { EXPECT_TRUE(scheduler_->ComputeOrSubmit(&first_).ok()); });
  control_->WaitForBatches(1);
  RecordedTask second(2), third(3);
  ASSERT_TRUE(scheduler_->ComputeOrSubmit(&second).ok());
  ASSERT_TRUE(scheduler_->Submit(&third).ok());
  control_->OpenGate();
  EXPECT_TRUE(second.Wait().ok());
  EXPECT_TRUE(third.Wait().ok());
  caller.join();
  EXPECT_THAT(control_->batch_sizes(), ElementsAre(1, 2));
}

TEST_F(BatchSchedulerTest, ADrainWaitsForWhatACallerComputes) {
  Start(1, 1024, {}, Always(std::chrono::microseconds(1)));
  control_->ShutGate();
  std::thread caller(
      [&] { EXPECT_TRUE(scheduler_->ComputeOrSubmit(&first_).ok()); });
  control_->WaitForBatches(1);
  auto drained = std::async(std::launch::async, [&] { scheduler_->Drain(); });
  EXPECT_EQ(drained.wait_for(std::chrono::milliseconds(50)),
            std::future_status::timeout);
  control_->OpenGate();
  drained.get();
  EXPECT_EQ(first_.answers(), 1);
  caller.join();
}

TEST_F(BatchSchedulerTest, AFailedBatchTeachesNothing) {
  Start(1);
  control_->FailWith(absl::InternalError("no luck"));
  std::deque<RecordedTask> tasks;
  for (int i = 0; i < 20; ++i) {
    RecordedTask& task = tasks.emplace_back(1);
    ASSERT_TRUE(scheduler_->Submit(&task).ok());
    EXPECT_FALSE(task.Wait().ok());
  }
  scheduler_->Drain();
  EXPECT_EQ(observer_.costs, 0);
}

// gRPC cancels a call that has passed its deadline: that is no wish of the
// client's.
TEST_F(BatchSchedulerTest, ATaskCancelledAfterItsDeadlineCountsAsExpired) {
  Start(1);
  KeepWorkerBusy();
  RecordedTask expired(5);
  expired.deadline = Clock::now();
  ASSERT_TRUE(scheduler_->Submit(&expired).ok());
  expired.Cancel();
  control_->OpenGate();
  EXPECT_EQ(expired.Wait().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(observer_.expired, 1);
  EXPECT_EQ(observer_.cancelled, 0);
}

TEST_F(BatchSchedulerTest, InAHurryNoTaskWaitsForOthers) {
  Start(1, /*max_queue_size=*/8, std::chrono::hours(1));
  RecordedTask before(5), after(6);
  ASSERT_TRUE(scheduler_->Submit(&before).ok());
  scheduler_->Hurry();
  EXPECT_TRUE(before.Wait().ok());
  ASSERT_TRUE(scheduler_->Submit(&after).ok());
  EXPECT_TRUE(after.Wait().ok());
}

TEST_F(BatchSchedulerTest, DeadTasksLeaveTheirPlacesInTheBatchToOthers) {
  Start(1);
  KeepWorkerBusy();
  std::deque<RecordedTask> tasks;
  for (int i = 0; i < 12; ++i) {
    RecordedTask& task = tasks.emplace_back(i);
    if (i % 3 == 0) task.Cancel();
    ASSERT_TRUE(scheduler_->Submit(&task).ok());
  }
  control_->OpenGate();
  scheduler_->Drain();
  EXPECT_THAT(control_->batch_sizes(), ElementsAre(1, 8));
}

TEST_F(BatchSchedulerTest, AFailedBatchFailsItsTasksAndTheNextOneSucceeds) {
  Start(1);
  control_->FailWith(absl::InternalError("no luck"));
  RecordedTask unlucky(1), lucky(2);
  ASSERT_TRUE(scheduler_->Submit(&unlucky).ok());
  const absl::Status status = unlucky.Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(status.message(), HasSubstr("no luck"));
  control_->FailWith(absl::OkStatus());
  ASSERT_TRUE(scheduler_->Submit(&lucky).ok());
  EXPECT_TRUE(lucky.Wait().ok());
}

TEST_F(BatchSchedulerTest, AttentionIsFilledForThoseWhoAskOnly) {
  Start(1);
  KeepWorkerBusy();
  RecordedTask plain(2), curious(3);
  Attention attention;
  curious.attention = &attention;
  ASSERT_TRUE(scheduler_->Submit(&plain).ok());
  ASSERT_TRUE(scheduler_->Submit(&curious).ok());
  control_->OpenGate();
  EXPECT_TRUE(curious.Wait().ok());
  EXPECT_EQ(attention.weights.size(), 2 * 3 * 5 * 5);
}

TEST_F(BatchSchedulerTest, DrainingAnswersWhatWasAcceptedAndRefusesTheRest) {
  Start(1);
  KeepWorkerBusy();
  RecordedTask accepted(2), late(3);
  ASSERT_TRUE(scheduler_->Submit(&accepted).ok());
  std::thread drain([&] { scheduler_->Drain(); });
  // The drain cannot end before the gate opens; until it has begun, tasks are
  // still accepted.
  std::deque<RecordedTask> more;
  absl::Status status;
  do {
    status = scheduler_->Submit(&more.emplace_back(4));
  } while (status.ok() ||
           status.code() == absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  control_->OpenGate();
  drain.join();
  EXPECT_EQ(accepted.answers(), 1);
  EXPECT_EQ(scheduler_->Submit(&late).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(late.answers(), 0);
}

TEST_F(BatchSchedulerTest, ADrainDoesNotWaitForADelay) {
  Start(1, 1024, std::chrono::hours(1));
  RecordedTask task(2);
  ASSERT_TRUE(scheduler_->Submit(&task).ok());
  scheduler_->Drain();
  EXPECT_TRUE(task.Wait().ok());
}

TEST_F(BatchSchedulerTest, WithADelayAFullBatchIsComputedAtOnce) {
  Start(1, 1024, std::chrono::hours(1));
  std::deque<RecordedTask> tasks;
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(scheduler_->Submit(&tasks.emplace_back(i)).ok());
  }
  for (RecordedTask& task : tasks) EXPECT_TRUE(task.Wait().ok());
  EXPECT_THAT(control_->batch_sizes(), ElementsAre(8));
}

// Many threads submit, some with deadlines in the past, some cancelling, while
// the scheduler drains half-way: every task that was accepted is answered once
// and once only, and no other is.
TEST_F(BatchSchedulerTest, EverythingAcceptedIsAnsweredExactlyOnce) {
  constexpr int kThreads = 4;
  constexpr int kTasksEach = 2000;
  Start(2, /*max_queue_size=*/64);
  struct Submission {
    explicit Submission(int value) : task(value) {}
    RecordedTask task;
    bool accepted = false;
  };
  std::vector<std::deque<Submission>> submissions(kThreads);
  std::atomic<int> submitted{0};
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      std::mt19937 random(static_cast<unsigned>(thread));
      for (int i = 0; i < kTasksEach; ++i) {
        Submission& mine = submissions[thread].emplace_back(i % 256);
        const unsigned kind = random() % 8;
        if (kind == 0) mine.task.deadline = Clock::now();
        const absl::Status status =
            kind < 5 ? scheduler_->Submit(&mine.task)
                     : scheduler_->ComputeOrSubmit(&mine.task);
        mine.accepted = status.ok();
        if (kind == 1) mine.task.Cancel();
        ++submitted;
      }
    });
  }
  while (submitted < kThreads * kTasksEach / 2) std::this_thread::yield();
  scheduler_->Drain();
  for (std::thread& thread : threads) thread.join();

  size_t accepted = 0;
  for (std::deque<Submission>& mine : submissions) {
    for (Submission& submission : mine) {
      ASSERT_EQ(submission.task.answers(), submission.accepted ? 1 : 0);
      accepted += submission.accepted ? 1 : 0;
    }
  }
  EXPECT_GT(accepted, 0);
  EXPECT_EQ(observer_.computed, observer_.taken);
  EXPECT_EQ(accepted,
            observer_.computed + observer_.expired + observer_.cancelled);
}

}  // namespace
}  // namespace vit
