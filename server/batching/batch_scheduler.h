#ifndef MNIST_VIT_SERVER_BATCHING_BATCH_SCHEDULER_H_
#define MNIST_VIT_SERVER_BATCHING_BATCH_SCHEDULER_H_

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "model/classifier.h"
#include "model/image.h"
#include "server/batching/batch_policy.h"
#include "server/batching/duration_model.h"
#include "server/base/mutex.h"

namespace vit {

// Where the time of one task went.
struct TaskTiming {
  Clock::duration queue{0};      // from its arrival to its being taken
  Clock::duration inference{0};  // its whole batch's; zero if not computed
  int batch_size = 0;            // zero if not computed
  Clock::time_point finished;    // when its batch was computed, or it dropped
};

// One image on its way through a BatchScheduler. Whoever submits a task owns
// it, and keeps it and its image alive until Done is called.
class BatchTask {
 public:
  virtual ~BatchTask() = default;

  // Says that nobody waits for the answer any more: if the task is still
  // queued, it is not computed. Any thread, any time; Done is called still.
  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }

  // Called exactly once for every task that was accepted, by the thread that
  // computed it, which holds no lock. The prediction is null unless the status
  // is OK, and is the scheduler's: copy what is needed. The task may destroy
  // itself here.
  //
  // DeadlineExceeded and Cancelled: dropped without having been computed.
  // Internal: the classifier failed.
  virtual void Done(const absl::Status& status, const Prediction* prediction,
                    const TaskTiming& timing) = 0;

  // Set before the task is submitted, and left alone until Done.
  Image image;
  Clock::time_point deadline = Clock::time_point::max();
  Attention* attention = nullptr;  // not null: filled before Done

 private:
  friend class BatchScheduler;

  std::atomic<bool> cancelled_{false};
  Clock::time_point arrival_;
  Clock::time_point due_;
};

// Learns what happens in a scheduler, for metrics. Called by many threads at
// once, some of them under the scheduler's lock: be quick, and don't call back.
class BatchObserver {
 public:
  enum class Rejection { kFull, kLate };
  enum class Drop { kExpired, kCancelled };

  virtual ~BatchObserver() = default;
  virtual void OnRejected(Rejection reason, size_t tasks) = 0;
  virtual void OnQueueDepth(size_t waiting) = 0;
  virtual void OnTaken(Clock::duration queued) = 0;
  virtual void OnDropped(Drop reason) = 0;
  virtual void OnBatch(size_t size, Clock::duration inference) = 0;
  // What a batch is expected to cost from now on.
  virtual void OnCost(const BatchCost& cost) = 0;
};

struct BatchSchedulerOptions {
  BatchPolicyOptions policy;
  // Tasks that may wait, those being computed not counted; at least 1.
  size_t max_queue_size = 1024;
  // What is known of the batches' durations before the first of them.
  DurationModel durations;
};

// Groups tasks into batches and has workers compute them, as many threads as
// there are classifiers. No more batches are under way at once than that.
//
// Work-conserving: with no delay configured, no task waits while a worker is
// free; so at low load a task is computed alone and at once, and batches grow
// with the load by themselves. A task's wait is bounded by the queue in front
// of it: max_queue_size / max_batch_size / workers batches. For less waiting
// under overload make the queue smaller; for more throughput from larger
// batches allow a delay, which is seldom worth it on a CPU.
//
// It learns how long batches take, and so rejects at once what would be done
// too late for its deadline (see Admit): computing that would only make others
// late.
//
// Every accepted task is answered exactly once. Thread-safe.
class BatchScheduler {
 public:
  // Starts one worker for each classifier. Every classifier takes batches of at
  // least options.policy.max_batch_size. `observer` may be null, and outlives
  // the scheduler.
  BatchScheduler(const BatchSchedulerOptions& options,
                 std::vector<std::unique_ptr<Classifier>> classifiers,
                 BatchObserver* observer);

  // Drains.
  ~BatchScheduler();

  BatchScheduler(const BatchScheduler&) = delete;
  BatchScheduler& operator=(const BatchScheduler&) = delete;

  // Takes the task if and only if OK is returned; otherwise Done will not be
  // called. Never blocks. `now` is when the task arrived. ResourceExhausted:
  // the queue is full, or the task would be done after its deadline; RetryAfter
  // of the status says when to come again. Unavailable: draining.
  absl::Status Submit(BatchTask* task, Clock::time_point now = Clock::now());

  // The same for several tasks: takes all of them or none.
  absl::Status SubmitAll(std::span<BatchTask* const> tasks,
                         Clock::time_point now = Clock::now());

  // The same for one task; but a quick one that needs not wait is computed
  // here, and Done called, before this returns: that saves the way to a
  // worker's thread, which takes as long.
  absl::Status ComputeOrSubmit(BatchTask* task,
                               Clock::time_point now = Clock::now());

  // Batches that can be under way at once.
  size_t workers() const { return batches_.size(); }

  // Whether batches are of several tasks now, so that their workers have one
  // answer after another to give. Only a hint.
  bool crowded() const {
    return last_batch_.load(std::memory_order_relaxed) >= kCrowd;
  }

  // From now on no task waits for others to share its batch; nothing else
  // changes. For a shutdown, in which hardly any others come.
  void Hurry() ABSL_LOCKS_EXCLUDED(mutex_);

  // Takes nothing more, answers all that was accepted, and ends the workers.
  // Not to be called from Done.
  void Drain() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Batch;

  static constexpr size_t kCrowd = 2;  // tasks of a batch
  // What a task may cost that is computed where it comes in.
  static constexpr Clock::duration kAtOnce = std::chrono::microseconds(200);

  static std::vector<std::unique_ptr<Batch>> NewBatches(
      std::vector<std::unique_ptr<Classifier>> classifiers,
      size_t max_batch_size);

  // A worker's thread.
  void Work() ABSL_LOCKS_EXCLUDED(mutex_);
  // Gives back the batch that is done, if any, then waits for the next; null if
  // there will be none.
  Batch* Next(Batch* done) ABSL_LOCKS_EXCLUDED(mutex_);
  // SubmitAll; but where `alone` is not null and the first task is to be
  // computed at once, *alone becomes a batch of it.
  absl::Status Accept(std::span<BatchTask* const> tasks, Clock::time_point now,
                      Batch** alone) ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether a task is to be computed by the thread that brings it.
  bool AtOnce(const BatchTask& task, Clock::time_point now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Learns from the batch and makes its classifier free for another.
  void GiveBack(Batch* batch, Clock::time_point now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes a free batch, empty.
  Batch* Begin(Clock::time_point now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Expect(Batch* batch) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  LoadView Load(Clock::time_point now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MoveFromQueue(size_t count, Batch* batch)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  QueueView View() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  BatchTask* Waiting(size_t index) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AnswerDropped(const Batch& batch);
  void Compute(Batch* batch);

  const BatchSchedulerOptions options_;
  BatchObserver* const observer_;
  // One for each classifier. One that is not free belongs to the thread that
  // computes it.
  const std::vector<std::unique_ptr<Batch>> batches_;

  Mutex mutex_;
  CondVar changed_;
  // A ring: `waiting_` tasks from `first_` on, the oldest first.
  std::vector<BatchTask*> ring_ ABSL_GUARDED_BY(mutex_);
  size_t first_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Batch*> free_ ABSL_GUARDED_BY(mutex_);
  DurationModel durations_ ABSL_GUARDED_BY(mutex_);
  std::optional<BatchCost> cost_ ABSL_GUARDED_BY(mutex_);
  bool hurrying_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;

  std::atomic<size_t> last_batch_{0};  // the tasks of the last batch taken

  Mutex join_mutex_;
  std::vector<std::thread> workers_ ABSL_GUARDED_BY(join_mutex_);
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_BATCHING_BATCH_SCHEDULER_H_
