#include "server/batching/worker_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <new>
#include <random>
#include <stdexcept>
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
    arrival = Clock::now();
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
    switch (reason) {
      case Rejection::kFull:
        full += tasks;
        break;
      case Rejection::kLate:
        late += tasks;
        break;
      case Rejection::kDisplaced:
        displaced += tasks;
        break;
    }
  }
  void OnQueueDepth(size_t) override {}
  void OnTaken(Clock::duration) override { ++taken; }
  void OnDropped(Drop reason) override {
    ++(reason == Drop::kExpired ? expired : cancelled);
  }
  void OnBatch(size_t size, Clock::duration, Leaving leaving) override {
    computed += size;
    ++left[static_cast<size_t>(leaving)];
  }
  void OnBatchFailed(size_t size) override { failed += size; }
  void OnPrediction(int, Clock::duration) override {}
  void OnCost(Clock::duration, Clock::duration) override { ++costs; }

  size_t leaving(Leaving why) const { return left[static_cast<size_t>(why)]; }

  std::array<std::atomic<size_t>, 4> left{};
  std::atomic<size_t> full{0}, late{0}, displaced{0}, failed{0}, taken{0},
      expired{0}, cancelled{0}, computed{0}, costs{0};
};

class WorkerPoolTest : public ::testing::Test {
 protected:
  void Start(int workers, size_t max_queue_size = 1024,
             Clock::duration delay = {}, const DurationModel& durations = {}) {
    ModelQueueOptions options;
    options.durations = durations;
    options.policy = {.max_batch_size = 8, .max_queue_delay = delay};
    options.max_queue_size = max_queue_size;
    pool_ = std::make_unique<WorkerPool>(workers, /*max_batch_size=*/8);
    queue_ = ModelQueue::Create(pool_.get(), options,
                                FakeClassifiers(control_, workers),
                                {std::shared_ptr<void>(), &observer_});
  }

  // What is known of batches that take this long, however many images.
  static DurationModel Always(Clock::duration took) {
    DurationModel durations;
    for (int i = 0; i < 100; ++i) durations.Learn(1, took);
    return durations;
  }

  // A burst of one task, which its caller may compute.
  void ComputeOrSubmit(RecordedTask* task) {
    task->queue = queue_.get();
    BatchTask* const burst = task;
    pool_->SubmitBurst(std::span(&burst, 1), /*compute_last=*/true);
  }

  // Of so many images of one client.
  std::vector<BatchTask*> Many(int count, uint64_t flow, int share = 1) {
    std::vector<BatchTask*> tasks;
    for (int i = 0; i < count; ++i) {
      tasks_.emplace_back(static_cast<int>(flow)).flow = flow;
      tasks_.back().share = share;
      tasks.push_back(&tasks_.back());
    }
    return tasks;
  }

  void Cancel(BatchTask* task) { pool_->Cancel(std::span(&task, 1)); }

  // A task that keeps the one worker busy until the gate opens.
  void KeepWorkerBusy() {
    control_->ShutGate();
    ASSERT_TRUE(queue_->Submit(&first_).ok());
    control_->WaitForBatches(1);
  }

  RecordedTask first_{1};
  std::deque<RecordedTask> tasks_;
  CountingObserver observer_;
  std::shared_ptr<FakeControl> control_ = std::make_shared<FakeControl>();
  std::unique_ptr<WorkerPool> pool_;
  std::shared_ptr<ModelQueue> queue_;
};

TEST_F(WorkerPoolTest, AnIdleWorkerComputesATaskAlone) {
  Start(1);
  RecordedTask task(7);
  ASSERT_TRUE(queue_->Submit(&task).ok());
  EXPECT_TRUE(task.Wait().ok());
  EXPECT_EQ(task.label(), 7);
  EXPECT_EQ(task.timing().batch_size, 1);
}

TEST_F(WorkerPoolTest, WhatWaitsForABusyWorkerIsComputedTogether) {
  Start(1);
  KeepWorkerBusy();
  std::deque<RecordedTask> tasks;
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(queue_->Submit(&tasks.emplace_back(i)).ok());
  }
  control_->OpenGate();
  pool_->Drain();
  EXPECT_THAT(control_->batch_sizes(), ElementsAre(1, 8, 8, 4));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(tasks[i].label(), i % 10);
}

TEST_F(WorkerPoolTest, AFullQueueRejectsAtOnceAndNeverAnswers) {
  Start(1, /*max_queue_size=*/2);
  KeepWorkerBusy();
  RecordedTask second(2), third(3), fourth(4);
  ASSERT_TRUE(queue_->Submit(&second).ok());
  ASSERT_TRUE(queue_->Submit(&third).ok());
  const absl::Status status = queue_->Submit(&fourth);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("2 of 2"));
  EXPECT_EQ(observer_.full, 1);
  control_->OpenGate();
  pool_->Drain();
  EXPECT_EQ(third.answers(), 1);
  EXPECT_EQ(fourth.answers(), 0);
}

TEST_F(WorkerPoolTest, ManyTasksAreTakenTogetherOrNotAtAll) {
  Start(1, /*max_queue_size=*/3);
  KeepWorkerBusy();
  RecordedTask a(1), b(2), c(3), d(4);
  const std::vector<BatchTask*> two = {&a, &b};
  const std::vector<BatchTask*> others = {&c, &d};
  EXPECT_TRUE(queue_->SubmitAll(two).ok());
  EXPECT_EQ(queue_->SubmitAll(others).code(),
            absl::StatusCode::kResourceExhausted);
  control_->OpenGate();
  pool_->Drain();
  EXPECT_EQ(a.answers() + b.answers(), 2);
  EXPECT_EQ(c.answers() + d.answers(), 0);
}

TEST_F(WorkerPoolTest, AnExpiredTaskIsAnsweredWithoutBeingComputed) {
  Start(1);
  KeepWorkerBusy();
  RecordedTask expired(5), alive(6);
  expired.deadline = Clock::now();
  ASSERT_TRUE(queue_->Submit(&expired).ok());
  ASSERT_TRUE(queue_->Submit(&alive).ok());
  control_->OpenGate();
  EXPECT_EQ(expired.Wait().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(alive.Wait().ok());
  EXPECT_THAT(control_->computed(), ElementsAre(1, 6));
  EXPECT_EQ(observer_.expired, 1);
}

TEST_F(WorkerPoolTest, ACancelledTaskIsAnsweredWithoutBeingComputed) {
  Start(1);
  KeepWorkerBusy();
  RecordedTask cancelled(5), alive(6);
  ASSERT_TRUE(queue_->Submit(&cancelled).ok());
  ASSERT_TRUE(queue_->Submit(&alive).ok());
  Cancel(&cancelled);
  control_->OpenGate();
  EXPECT_EQ(cancelled.Wait().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(alive.Wait().ok());
  EXPECT_THAT(control_->computed(), ElementsAre(1, 6));
  EXPECT_EQ(observer_.cancelled, 1);
}

TEST_F(WorkerPoolTest, WhatWouldBeLateIsRejectedAtOnceAndNeverAnswered) {
  Start(1, 1024, {}, Always(std::chrono::hours(1)));
  KeepWorkerBusy();
  RecordedTask late(2), patient(3), endless(4);
  late.deadline = Clock::now() + std::chrono::hours(1);
  const absl::Status status = queue_->Submit(&late);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(status.message(), HasSubstr("would be late"));
  // Waiting could only make it later.
  EXPECT_FALSE(RetryAfter(status).has_value());
  patient.deadline = Clock::now() + std::chrono::hours(4);
  EXPECT_TRUE(queue_->Submit(&patient).ok());
  EXPECT_TRUE(queue_->Submit(&endless).ok());
  control_->OpenGate();
  pool_->Drain();
  EXPECT_EQ(observer_.late, 1);
  EXPECT_EQ(late.answers(), 0);
  EXPECT_EQ(patient.answers(), 1);
  EXPECT_EQ(endless.answers(), 1);
}

TEST_F(WorkerPoolTest, OneLateTaskOfManyRejectsAll) {
  Start(1, 1024, {}, Always(std::chrono::hours(1)));
  KeepWorkerBusy();
  RecordedTask late(2), patient(3);
  late.deadline = Clock::now() + std::chrono::hours(1);
  const std::vector<BatchTask*> both = {&patient, &late};
  EXPECT_EQ(queue_->SubmitAll(both).code(),
            absl::StatusCode::kResourceExhausted);
  control_->OpenGate();
  pool_->Drain();
  EXPECT_EQ(observer_.late, 2);
  EXPECT_EQ(patient.answers(), 0);
}

TEST_F(WorkerPoolTest, AnIdleWorkerTriesAndSoLearnsThatItIsQuicker) {
  Start(1, 1024, {}, Always(std::chrono::hours(1)));
  // Each comes when the one before is answered, perhaps before its worker is
  // free again.
  constexpr size_t kTasks = 100;
  std::deque<RecordedTask> tasks;
  while (observer_.computed < kTasks) {
    RecordedTask& task = tasks.emplace_back(1);
    task.deadline = Clock::now() + std::chrono::minutes(1);
    if (queue_->Submit(&task).ok()) {
      EXPECT_TRUE(task.Wait().ok());
    }
  }
  control_->ShutGate();
  ASSERT_TRUE(queue_->Submit(&first_).ok());
  control_->WaitForBatches(kTasks + 1);
  RecordedTask next(2);
  next.deadline = Clock::now() + std::chrono::minutes(1);
  EXPECT_TRUE(queue_->Submit(&next).ok());
  control_->OpenGate();
  pool_->Drain();
}

TEST_F(WorkerPoolTest, AQuickTaskThatComesAloneIsComputedByItsCaller) {
  Start(2, 1024, {}, Always(std::chrono::microseconds(1)));
  RecordedTask task(7);
  ComputeOrSubmit(&task);
  EXPECT_EQ(task.answers(), 1);
  EXPECT_EQ(task.answered_by(), std::this_thread::get_id());
  EXPECT_EQ(task.label(), 7);
  EXPECT_EQ(task.timing().batch_size, 1);
  EXPECT_EQ(observer_.taken, 1);
}

TEST_F(WorkerPoolTest, ATaskThatTakesLongIsLeftToAWorker) {
  Start(1, 1024, {}, Always(std::chrono::milliseconds(1)));
  RecordedTask task(7);
  ComputeOrSubmit(&task);
  EXPECT_TRUE(task.Wait().ok());
  EXPECT_NE(task.answered_by(), std::this_thread::get_id());
}

TEST_F(WorkerPoolTest, AQuickTaskIsComputedByItsCallerBesideABusyWorker) {
  Start(2, 1024, {}, Always(std::chrono::microseconds(1)));
  control_->ShutGate();
  ASSERT_TRUE(queue_->Submit(&first_).ok());
  control_->WaitForBatches(1);
  RecordedTask second(2);
  std::thread caller([&] { ComputeOrSubmit(&second); });
  const std::thread::id caller_id = caller.get_id();
  control_->WaitForBatches(2);
  control_->OpenGate();
  caller.join();
  EXPECT_EQ(second.answered_by(), caller_id);
}

TEST_F(WorkerPoolTest, WithADelayEveryTaskIsLeftToAWorker) {
  Start(1, 1024, std::chrono::microseconds(1),
        Always(std::chrono::microseconds(1)));
  RecordedTask task(7);
  ComputeOrSubmit(&task);
  EXPECT_TRUE(task.Wait().ok());
  EXPECT_NE(task.answered_by(), std::this_thread::get_id());
}

TEST_F(WorkerPoolTest, WhatComesWhileACallerComputesIsComputedNext) {
  Start(1, 1024, {}, Always(std::chrono::microseconds(1)));
  control_->ShutGate();
  std::thread caller([&] { ComputeOrSubmit(&first_); });
  control_->WaitForBatches(1);
  RecordedTask second(2), third(3);
  ComputeOrSubmit(&second);
  ASSERT_TRUE(queue_->Submit(&third).ok());
  control_->OpenGate();
  EXPECT_TRUE(second.Wait().ok());
  EXPECT_TRUE(third.Wait().ok());
  caller.join();
  EXPECT_THAT(control_->batch_sizes(), ElementsAre(1, 2));
}

TEST_F(WorkerPoolTest, ADrainWaitsForWhatACallerComputes) {
  Start(1, 1024, {}, Always(std::chrono::microseconds(1)));
  control_->ShutGate();
  std::thread caller([&] { ComputeOrSubmit(&first_); });
  control_->WaitForBatches(1);
  auto drained = std::async(std::launch::async, [&] { pool_->Drain(); });
  EXPECT_EQ(drained.wait_for(std::chrono::milliseconds(50)),
            std::future_status::timeout);
  control_->OpenGate();
  drained.get();
  EXPECT_EQ(first_.answers(), 1);
  caller.join();
}

TEST_F(WorkerPoolTest, AFailedBatchTeachesNothing) {
  Start(1);
  control_->FailWith(absl::InternalError("no luck"));
  std::deque<RecordedTask> tasks;
  for (int i = 0; i < 20; ++i) {
    RecordedTask& task = tasks.emplace_back(1);
    ASSERT_TRUE(queue_->Submit(&task).ok());
    EXPECT_FALSE(task.Wait().ok());
  }
  pool_->Drain();
  EXPECT_EQ(observer_.costs, 0);
}

// gRPC cancels a call that has passed its deadline: that is no wish of the
// client's.
TEST_F(WorkerPoolTest, ATaskCancelledAfterItsDeadlineCountsAsExpired) {
  Start(1);
  KeepWorkerBusy();
  RecordedTask expired(5);
  expired.deadline = Clock::now();
  ASSERT_TRUE(queue_->Submit(&expired).ok());
  Cancel(&expired);
  control_->OpenGate();
  EXPECT_EQ(expired.Wait().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(observer_.expired, 1);
  EXPECT_EQ(observer_.cancelled, 0);
}

TEST_F(WorkerPoolTest, OnceDelayingStopsNoTaskWaitsForOthers) {
  Start(1, /*max_queue_size=*/8, std::chrono::hours(1));
  RecordedTask before(5), after(6);
  ASSERT_TRUE(queue_->Submit(&before).ok());
  pool_->StopDelaying();
  EXPECT_TRUE(before.Wait().ok());
  ASSERT_TRUE(queue_->Submit(&after).ok());
  EXPECT_TRUE(after.Wait().ok());
}

TEST_F(WorkerPoolTest, DeadTasksLeaveTheirPlacesInTheBatchToOthers) {
  Start(1);
  KeepWorkerBusy();
  std::deque<RecordedTask> tasks;
  for (int i = 0; i < 12; ++i) {
    RecordedTask& task = tasks.emplace_back(i);
    if (i % 3 == 0) Cancel(&task);
    ASSERT_TRUE(queue_->Submit(&task).ok());
  }
  control_->OpenGate();
  pool_->Drain();
  EXPECT_THAT(control_->batch_sizes(), ElementsAre(1, 8));
}

TEST_F(WorkerPoolTest, AFailedBatchFailsItsTasksAndTheNextOneSucceeds) {
  Start(1);
  control_->FailWith(absl::InternalError("no luck"));
  RecordedTask unlucky(1), lucky(2);
  ASSERT_TRUE(queue_->Submit(&unlucky).ok());
  const absl::Status status = unlucky.Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(status.message(), HasSubstr("no luck"));
  control_->FailWith(absl::OkStatus());
  ASSERT_TRUE(queue_->Submit(&lucky).ok());
  EXPECT_TRUE(lucky.Wait().ok());
}

TEST_F(WorkerPoolTest, AttentionIsFilledForThoseWhoAskOnly) {
  Start(1);
  KeepWorkerBusy();
  RecordedTask plain(2), curious(3);
  Attention attention;
  curious.attention = &attention;
  ASSERT_TRUE(queue_->Submit(&plain).ok());
  ASSERT_TRUE(queue_->Submit(&curious).ok());
  control_->OpenGate();
  EXPECT_TRUE(curious.Wait().ok());
  EXPECT_EQ(attention.weights.size(), 2 * 3 * 5 * 5);
}

TEST_F(WorkerPoolTest, DrainingAnswersWhatWasAcceptedAndRefusesTheRest) {
  Start(1);
  KeepWorkerBusy();
  RecordedTask accepted(2), late(3);
  ASSERT_TRUE(queue_->Submit(&accepted).ok());
  std::thread drain([&] { pool_->Drain(); });
  // The drain cannot end before the gate opens; until it has begun, tasks are
  // still accepted.
  std::deque<RecordedTask> more;
  absl::Status status;
  do {
    status = queue_->Submit(&more.emplace_back(4));
  } while (status.ok() ||
           status.code() == absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  control_->OpenGate();
  drain.join();
  EXPECT_EQ(accepted.answers(), 1);
  EXPECT_EQ(queue_->Submit(&late).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(late.answers(), 0);
}

TEST_F(WorkerPoolTest, ADrainDoesNotWaitForADelay) {
  Start(1, 1024, std::chrono::hours(1));
  RecordedTask task(2);
  ASSERT_TRUE(queue_->Submit(&task).ok());
  pool_->Drain();
  EXPECT_TRUE(task.Wait().ok());
}

TEST_F(WorkerPoolTest, WithADelayAFullBatchIsComputedAtOnce) {
  Start(1, 1024, std::chrono::hours(1));
  std::deque<RecordedTask> tasks;
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(queue_->Submit(&tasks.emplace_back(i)).ok());
  }
  for (RecordedTask& task : tasks) EXPECT_TRUE(task.Wait().ok());
  EXPECT_THAT(control_->batch_sizes(), ElementsAre(8));
}

// Many threads submit, some with deadlines in the past, some cancelling, while
// the scheduler drains half-way: every task that was accepted is answered once
// and once only, and no other is.
TEST_F(WorkerPoolTest, EverythingAcceptedIsAnsweredExactlyOnce) {
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
        // Of a burst, refused tasks are answered, too.
        mine.accepted = true;
        if (kind < 5) {
          mine.accepted = queue_->Submit(&mine.task).ok();
        } else {
          ComputeOrSubmit(&mine.task);
        }
        if (kind == 1) Cancel(&mine.task);
        ++submitted;
      }
    });
  }
  while (submitted < kThreads * kTasksEach / 2) std::this_thread::yield();
  pool_->Drain();
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
  const size_t refused_after_drain =
      accepted - observer_.computed - observer_.expired - observer_.cancelled;
  // Those of bursts that came after the drain began.
  EXPECT_LE(refused_after_drain, kThreads * kTasksEach / 2);
}

TEST_F(WorkerPoolTest, ACancelledTaskLeavesItsPlaceInTheQueueAtOnce) {
  Start(1, /*max_queue_size=*/1);
  KeepWorkerBusy();
  RecordedTask gone(2), next(3);
  ASSERT_TRUE(queue_->Submit(&gone).ok());
  Cancel(&gone);
  EXPECT_EQ(gone.answers(), 1);
  EXPECT_EQ(gone.Wait().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(queue_->Submit(&next).ok());
  control_->OpenGate();
  pool_->Drain();
  EXPECT_EQ(next.answers(), 1);
}

TEST_F(WorkerPoolTest, AFailedBatchIsNotCountedAsComputed) {
  Start(1);
  control_->FailWith(absl::InternalError("no luck"));
  RecordedTask task(1);
  ASSERT_TRUE(queue_->Submit(&task).ok());
  EXPECT_FALSE(task.Wait().ok());
  pool_->Drain();
  EXPECT_EQ(observer_.computed, 0);
  EXPECT_EQ(observer_.failed, 1);
}

TEST_F(WorkerPoolTest, OutOfMemoryFailsTheBatchAndTheWorkerGoesOn) {
  Start(1);
  control_->Throw([] { throw std::bad_alloc(); });
  RecordedTask unlucky(1), lucky(2);
  ASSERT_TRUE(queue_->Submit(&unlucky).ok());
  EXPECT_EQ(unlucky.Wait().code(), absl::StatusCode::kResourceExhausted);
  control_->Throw(nullptr);
  ASSERT_TRUE(queue_->Submit(&lucky).ok());
  EXPECT_TRUE(lucky.Wait().ok());
}

TEST_F(WorkerPoolTest, AnExceptionOfTheClassifiersIsAnInternalError) {
  Start(1);
  control_->Throw([] { throw std::runtime_error("no luck"); });
  RecordedTask task(1);
  ASSERT_TRUE(queue_->Submit(&task).ok());
  const absl::Status status = task.Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(status.message(), HasSubstr("no luck"));
  control_->Throw(nullptr);
}

TEST_F(WorkerPoolTest, TheTimeBeforeATaskWasSubmittedIsQueueTimeNotCost) {
  Start(1);
  for (int i = 0; i < 20; ++i) {
    RecordedTask& task = tasks_.emplace_back(1);
    task.arrival = Clock::now() - std::chrono::hours(1);
    ASSERT_TRUE(queue_->Submit(&task).ok());
    ASSERT_TRUE(task.Wait().ok());
    EXPECT_GE(task.timing().queue, std::chrono::hours(1));
  }
  // Were the hour learned as cost, this would be late beside a busy worker.
  control_->ShutGate();
  ASSERT_TRUE(queue_->Submit(&first_).ok());
  control_->WaitForBatches(21);
  RecordedTask next(2);
  next.deadline = Clock::now() + std::chrono::minutes(10);
  EXPECT_TRUE(queue_->Submit(&next).ok());
  control_->OpenGate();
  pool_->Drain();
}

TEST_F(WorkerPoolTest, WhileClientsWaitEachGetsTheSameShareOfTheImages) {
  Start(1);
  KeepWorkerBusy();
  ASSERT_TRUE(queue_->SubmitAll(Many(100, /*flow=*/3)).ok());
  ASSERT_TRUE(queue_->SubmitAll(Many(8, /*flow=*/4)).ok());
  control_->OpenGate();
  pool_->Drain();
  // The first is KeepWorkerBusy's; in the next 16 both have their half.
  const std::vector<int> computed = control_->computed();
  ASSERT_GE(computed.size(), 17);
  EXPECT_EQ(std::count(computed.begin() + 1, computed.begin() + 17, 4), 8);
}

TEST_F(WorkerPoolTest, AClientWithALargerShareMayFillMoreOfTheQueue) {
  Start(1, /*max_queue_size=*/12);
  KeepWorkerBusy();
  ASSERT_TRUE(queue_->SubmitAll(Many(12, /*flow=*/3)).ok());
  ASSERT_TRUE(queue_->SubmitAll(Many(9, /*flow=*/4, /*share=*/3)).ok());
  EXPECT_EQ(observer_.displaced, 9);
  EXPECT_FALSE(queue_->SubmitAll(Many(1, /*flow=*/4, /*share=*/3)).ok());
  control_->OpenGate();
  pool_->Drain();
}

TEST_F(WorkerPoolTest,
       AClientThatFillsTheQueueMakesRoomForOneWithASmallerShare) {
  Start(1, /*max_queue_size=*/10);
  KeepWorkerBusy();
  const std::vector<BatchTask*> greedy = Many(10, /*flow=*/3);
  ASSERT_TRUE(queue_->SubmitAll(greedy).ok());
  ASSERT_TRUE(queue_->SubmitAll(Many(2, /*flow=*/4)).ok());
  EXPECT_EQ(tasks_[9].Wait().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(tasks_[8].Wait().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(tasks_[7].answers(), 0);
  EXPECT_EQ(observer_.displaced, 2);
  // More than its half it does not get, and the greedy one gets nothing back.
  EXPECT_FALSE(queue_->SubmitAll(Many(4, /*flow=*/4)).ok());
  EXPECT_FALSE(queue_->SubmitAll(Many(1, /*flow=*/3)).ok());
  control_->OpenGate();
  pool_->Drain();
}

TEST_F(WorkerPoolTest,
       OfABurstTheLastIsComputedByItsCallerAndTheOthersByWorkers) {
  Start(2, 1024, {}, Always(std::chrono::microseconds(1)));
  std::vector<BatchTask*> burst = Many(3, /*flow=*/5);
  for (BatchTask* task : burst) task->queue = queue_.get();
  pool_->SubmitBurst(burst, /*compute_last=*/true);
  EXPECT_EQ(tasks_[2].answers(), 1);
  EXPECT_EQ(tasks_[2].answered_by(), std::this_thread::get_id());
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(tasks_[i].Wait().ok());
    EXPECT_NE(tasks_[i].answered_by(), std::this_thread::get_id());
  }
  EXPECT_EQ(observer_.leaving(BatchObserver::Leaving::kInline), 1);
}

TEST_F(WorkerPoolTest, OfABurstWhatDoesNotFitIsAnsweredSo) {
  Start(1, /*max_queue_size=*/2);
  KeepWorkerBusy();
  std::vector<BatchTask*> burst = Many(3, /*flow=*/5);
  for (BatchTask* task : burst) task->queue = queue_.get();
  pool_->SubmitBurst(burst, /*compute_last=*/true);
  EXPECT_EQ(tasks_[2].Wait().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(tasks_[0].answers() + tasks_[1].answers(), 0);
  control_->OpenGate();
  pool_->Drain();
  EXPECT_EQ(tasks_[0].answers() + tasks_[1].answers(), 2);
}

TEST_F(WorkerPoolTest, BatchesSayWhyTheyLeft) {
  Start(1);
  KeepWorkerBusy();
  ASSERT_TRUE(queue_->SubmitAll(Many(9, /*flow=*/1)).ok());
  control_->OpenGate();
  pool_->Drain();
  EXPECT_EQ(observer_.leaving(BatchObserver::Leaving::kFull), 1);
  EXPECT_EQ(observer_.leaving(BatchObserver::Leaving::kWorkerFree), 2);
}

TEST_F(WorkerPoolTest, WorkersTakeTurnsBetweenTheQueuesOfSeveralModels) {
  Start(1);
  ModelQueueOptions options;
  options.policy.max_batch_size = 8;
  const auto other_control = std::make_shared<FakeControl>();
  std::shared_ptr<ModelQueue> other = ModelQueue::Create(
      pool_.get(), options, FakeClassifiers(other_control, 1), nullptr);
  KeepWorkerBusy();
  ASSERT_TRUE(queue_->SubmitAll(Many(16, /*flow=*/1)).ok());
  ASSERT_TRUE(other->SubmitAll(Many(8, /*flow=*/1)).ok());
  EXPECT_GT(pool_->OldestWait(Clock::now()), Clock::duration(0));
  control_->OpenGate();
  for (RecordedTask& task : tasks_) EXPECT_TRUE(task.Wait().ok());
  EXPECT_THAT(control_->batch_sizes(), ElementsAre(1, 8, 8));
  EXPECT_THAT(other_control->batch_sizes(), ElementsAre(8));
  other.reset();
}

TEST_F(WorkerPoolTest, AQueueThatNobodyKeepsEndsWithItsLastBatch) {
  Start(1);
  KeepWorkerBusy();
  const std::weak_ptr<ModelQueue> queue = queue_;
  queue_.reset();
  EXPECT_FALSE(queue.expired());
  control_->OpenGate();
  EXPECT_TRUE(first_.Wait().ok());
  while (!queue.expired()) std::this_thread::yield();
}

}  // namespace
}  // namespace vit
