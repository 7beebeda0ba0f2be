#include "server/batching/model_queue.h"

#include <algorithm>
#include <utility>

#include "server/batching/worker_pool.h"

namespace vit {
namespace {

class NullObserver : public BatchObserver {
 public:
  void OnRejected(Rejection, size_t) override {}
  void OnQueueDepth(size_t) override {}
  void OnTaken(Clock::duration) override {}
  void OnDropped(Drop) override {}
  void OnBatch(size_t, Clock::duration, Leaving) override {}
  void OnBatchFailed(size_t) override {}
  void OnPrediction(int, Clock::duration) override {}
  void OnCost(Clock::duration, Clock::duration) override {}
};

}  // namespace

std::shared_ptr<ModelQueue> ModelQueue::Create(
    WorkerPool* pool, const ModelQueueOptions& options,
    std::vector<std::unique_ptr<Classifier>> classifiers,
    std::shared_ptr<BatchObserver> observer) {
  if (observer == nullptr) observer = std::make_shared<NullObserver>();
  // The constructor is private, so not make_shared.
  std::shared_ptr<ModelQueue> queue(new ModelQueue(
      pool, options, std::move(classifiers), std::move(observer)));
  pool->AddQueue(queue.get());
  return queue;
}

ModelQueue::ModelQueue(WorkerPool* pool, const ModelQueueOptions& options,
                       std::vector<std::unique_ptr<Classifier>> classifiers,
                       std::shared_ptr<BatchObserver> observer)
    : pool_(pool),
      options_(options),
      observer_(std::move(observer)),
      classifiers_(std::move(classifiers)),
      waiting_(options.max_queue_size),
      durations_(options.durations),
      cost_(options.durations.cost()) {}

ModelQueue::~ModelQueue() { pool_->RemoveQueue(this); }

absl::Status ModelQueue::Submit(BatchTask* task) {
  return SubmitAll(std::span(&task, 1));
}

absl::Status ModelQueue::SubmitAll(std::span<BatchTask* const> tasks) {
  return pool_->SubmitAll(*this, tasks);
}

QueueView ModelQueue::View(bool no_delay) const {
  QueueView view{.waiting = waiting_.size(),
                 .earliest_due = Clock::time_point::max()};
  if (no_delay || !delays()) {
    view.earliest_due = Clock::time_point::min();
    return view;
  }
  // A full batch goes at once, so the scan is short.
  const auto look = [&view](const BatchTask& task) {
    view.earliest_due = std::min(view.earliest_due, task.due_);
  };
  waiting_.ForEach(options_.policy.max_batch_size, look);
  return view;
}

}  // namespace vit
