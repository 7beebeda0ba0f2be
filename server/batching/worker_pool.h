#ifndef MNIST_VIT_SERVER_BATCHING_WORKER_POOL_H_
#define MNIST_VIT_SERVER_BATCHING_WORKER_POOL_H_

#include <atomic>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "server/base/mutex.h"
#include "server/batching/batch_policy.h"
#include "server/batching/model_queue.h"
#include "server/batching/slot.h"
#include "server/batching/task.h"

namespace vit {

// The threads that compute, one set for the whole process. A free worker takes
// the batch whose oldest task waits longest, from any model's queue.
//
// Every accepted task is answered exactly once. Thread-safe.
class WorkerPool {
 public:
  // Most tasks of one burst.
  static constexpr size_t kMaxBurst = 64;

  // Starts `workers` threads, at least 1, for batches of at most
  // `max_batch_size` tasks.
  WorkerPool(size_t workers, size_t max_batch_size);

  // Drains. All queues are gone.
  ~WorkerPool();

  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  // Submits tasks that came in together, at most kMaxBurst, each to its own
  // `queue`, under one lock. Each is accepted or refused by itself, and all are
  // answered: Done tells a refused task why before this returns.
  //
  // With `compute_last`, the last task is computed here, if it is quick to
  // compute and a worker is free: that saves the way to a worker's thread,
  // which takes as long.
  void SubmitBurst(std::span<BatchTask* const> tasks, bool compute_last)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Says that nobody waits for these tasks any more. Those in a queue leave it
  // at once, and Done is called for each before this returns; one that is yet
  // to be submitted will not be computed; one that is being computed is
  // answered as usual. Each task stays alive until this returns.
  void Cancel(std::span<BatchTask* const> tasks) ABSL_LOCKS_EXCLUDED(mutex_);

  size_t workers() const { return slots_.size(); }

  // Whether batches are of several tasks now, so that their workers have one
  // answer after another to give. Only a hint.
  bool is_batching() const {
    return last_batch_.load(std::memory_order_relaxed) > 1;
  }

  // How long the oldest waiting task has waited; zero if none waits.
  Clock::duration OldestWait(Clock::time_point now) const
      ABSL_LOCKS_EXCLUDED(mutex_);

  // By how much the slowest batch under way has passed the time that it was
  // expected to take, times four; zero if none has. For a watchdog.
  Clock::duration LongestOverrun(Clock::time_point now) const
      ABSL_LOCKS_EXCLUDED(mutex_);

  // The part of the workers that are busy, plus the expected duration of what
  // waits for each worker, in seconds: 1.0 is full and nothing waits.
  double Utilization() const ABSL_LOCKS_EXCLUDED(mutex_);

  // From now on no task waits for others to share its batch; nothing else
  // changes. For a shutdown, in which hardly any others come.
  void StopDelaying() ABSL_LOCKS_EXCLUDED(mutex_);

  // Takes nothing more, answers all that was accepted, and ends the workers.
  // Not to be called from Done.
  void Drain() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  friend class ModelQueue;
  struct Choice;
  struct Refusal;

  // What a task may cost that is computed where it comes in.
  static constexpr Clock::duration kInlineCost = std::chrono::microseconds(200);

  // For ModelQueue.
  void AddQueue(ModelQueue* queue) ABSL_LOCKS_EXCLUDED(mutex_);
  void RemoveQueue(ModelQueue* queue) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status SubmitAll(ModelQueue& queue, std::span<BatchTask* const> tasks)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Queues the tasks, or says why not. Tasks that are displaced for them are
  // added to `displaced`, to be answered without the lock.
  Refusal Accept(ModelQueue& queue, std::span<BatchTask* const> tasks,
                 Clock::time_point now, std::vector<BatchTask*>* displaced)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Makes room for `count` tasks of a flow that has less than its share; false
  // if it has not.
  static bool Displace(ModelQueue& queue, const BatchTask& task, size_t count,
                       std::vector<BatchTask*>* displaced);
  LoadView Load(const ModelQueue& queue, const BatchTask& task, size_t count,
                Clock::time_point now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool CanComputeInline(const BatchTask& task, size_t queued_before,
                        Clock::time_point now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // A worker's thread.
  void Work() ABSL_LOCKS_EXCLUDED(mutex_);
  // Gives back the slot that is done, if any, then waits for the next batch;
  // null if there will be none.
  Slot* Next(Slot* done) ABSL_LOCKS_EXCLUDED(mutex_);
  Choice Choose(Clock::time_point now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The batch that was chosen; null if none was.
  Slot* TakeBatch(const Choice& choice, Clock::time_point now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes a free slot for an empty batch of this queue.
  Slot* TakeSlot(ModelQueue* queue, Clock::time_point now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void MoveFromQueue(const Choice& choice, Slot* slot)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Expect(Slot* slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Learns from the batch and frees its slot. Returns what kept the queue
  // alive, to be let go without the lock.
  std::shared_ptr<ModelQueue> GiveBack(Slot* slot, Clock::time_point now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void AnswerDisplaced(std::span<BatchTask* const> tasks) const;
  // Gives the slot of a batch that its caller computed back.
  void Return(Slot* slot) ABSL_LOCKS_EXCLUDED(mutex_);

  // One for each worker. One that is not free belongs to the thread that
  // computes its batch.
  std::vector<std::unique_ptr<Slot>> slots_;

  mutable Mutex mutex_;
  // Workers wait on it for a task or the end, and Drain for the slots, so
  // whoever cannot tell which of them wakes must wake all.
  CondVar changed_;
  std::vector<ModelQueue*> queues_ ABSL_GUARDED_BY(mutex_);
  size_t waiting_ ABSL_GUARDED_BY(mutex_) = 0;  // tasks in all queues
  std::vector<Slot*> free_ ABSL_GUARDED_BY(mutex_);
  bool no_delay_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;

  std::atomic<size_t> last_batch_{0};  // the tasks of the last batch taken

  Mutex join_mutex_;
  std::vector<std::thread> workers_ ABSL_GUARDED_BY(join_mutex_);
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_BATCHING_WORKER_POOL_H_
