#ifndef MNIST_VIT_SERVER_BATCHING_MODEL_QUEUE_H_
#define MNIST_VIT_SERVER_BATCHING_MODEL_QUEUE_H_

#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "server/batching/batch_policy.h"
#include "server/batching/duration_model.h"
#include "server/batching/fair_queue.h"
#include "server/batching/task.h"

namespace vit {

class WorkerPool;

struct ModelQueueOptions {
  BatchPolicyOptions policy;
  // Tasks that may wait, those being computed not counted; at least 1.
  size_t max_queue_size = 1024;
  // What is known of the batches' durations before the first of them.
  DurationModel durations;
  // The model as it is served; by default as its classifiers say.
  std::optional<ModelInfo> info;
};

// The queue of one served model version, with a classifier for each worker of
// the pool. It lives as long as anyone who may submit to it, and as a worker
// that computes a batch of it, holds a reference.
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
// late. When the queue is full, a client with a smaller share of it than others
// takes the place of the newest task of the client with the largest.
//
// Thread-safe.
class ModelQueue : public std::enable_shared_from_this<ModelQueue> {
 public:
  // `classifiers` has one for each of the pool's workers, each of which takes
  // batches of options.policy.max_batch_size, at most the pool's. `observer`
  // may be null. The pool outlives the queue.
  static std::shared_ptr<ModelQueue> Create(
      WorkerPool* pool, const ModelQueueOptions& options,
      std::vector<std::unique_ptr<Classifier>> classifiers,
      std::shared_ptr<BatchObserver> observer);

  ~ModelQueue();
  ModelQueue(const ModelQueue&) = delete;
  ModelQueue& operator=(const ModelQueue&) = delete;

  const ModelInfo& info() const {
    return options_.info.has_value() ? *options_.info
                                     : classifiers_.front()->info();
  }
  WorkerPool& pool() const { return *pool_; }
  BatchObserver& observer() const { return *observer_; }
  // A worker's own.
  Classifier& classifier(size_t worker) const { return *classifiers_[worker]; }

  // Takes the task if and only if OK is returned; otherwise Done will not be
  // called. Never blocks. ResourceExhausted: the queue is full, or the task
  // would be done after its deadline; RetryAfter of the status says when to
  // come again. Unavailable: draining.
  absl::Status Submit(BatchTask* task);

  // The same for several tasks of one client: takes all of them or none.
  absl::Status SubmitAll(std::span<BatchTask* const> tasks);

 private:
  friend class WorkerPool;

  ModelQueue(WorkerPool* pool, const ModelQueueOptions& options,
             std::vector<std::unique_ptr<Classifier>> classifiers,
             std::shared_ptr<BatchObserver> observer);

  // What the policy is to know of it.
  QueueView View(bool no_delay) const;
  // Whether batches wait for company.
  bool delays() const {
    return options_.policy.max_queue_delay > Clock::duration::zero();
  }

  WorkerPool* const pool_;
  const ModelQueueOptions options_;
  const std::shared_ptr<BatchObserver> observer_;
  // One for each worker, used by that worker alone.
  const std::vector<std::unique_ptr<Classifier>> classifiers_;

  // Guarded by the pool's lock.
  FairQueue waiting_;
  DurationModel durations_;
  std::optional<BatchCost> cost_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_BATCHING_MODEL_QUEUE_H_
