#include "server/batch_scheduler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vit {
namespace {

class NullObserver : public BatchObserver {
 public:
  void OnQueueDepth(size_t) override {}
  void OnTaken(Clock::duration) override {}
  void OnDropped(Drop) override {}
  void OnBatch(size_t, Clock::duration) override {}
};

BatchObserver* OrNull(BatchObserver* observer) {
  static NullObserver null_observer;
  return observer != nullptr ? observer : &null_observer;
}

}  // namespace

// What one worker works on: made once and reused, so that a batch allocates
// nothing.
struct BatchScheduler::Batch {
  struct Dropped {
    BatchTask* task;
    BatchObserver::Drop reason;
  };

  explicit Batch(size_t max_batch_size) : predictions(max_batch_size) {
    tasks.reserve(max_batch_size);
    dropped.reserve(max_batch_size);
    images.reserve(max_batch_size);
    attention.reserve(max_batch_size);
  }

  void Clear() {
    tasks.clear();
    dropped.clear();
    images.clear();
    attention.clear();
  }

  std::vector<BatchTask*> tasks;
  std::vector<Dropped> dropped;
  std::vector<Image> images;
  std::vector<Attention*> attention;
  std::vector<Prediction> predictions;
  Clock::time_point taken;
};

BatchScheduler::BatchScheduler(
    const BatchSchedulerOptions& options,
    std::vector<std::unique_ptr<Classifier>> classifiers,
    BatchObserver* observer)
    : options_(options),
      observer_(OrNull(observer)),
      ring_(options.max_queue_size) {
  MutexLock lock(&join_mutex_);
  for (std::unique_ptr<Classifier>& classifier : classifiers) {
    workers_.emplace_back(
        [this, owned = std::move(classifier)] { Work(owned.get()); });
  }
}

BatchScheduler::~BatchScheduler() { Drain(); }

absl::Status BatchScheduler::Submit(BatchTask* task) {
  return SubmitAll(std::span(&task, 1));
}

absl::Status BatchScheduler::SubmitAll(std::span<BatchTask* const> tasks) {
  const Clock::time_point now = Clock::now();
  size_t to_wake = 0;
  {
    MutexLock lock(&mutex_);
    if (draining_) return absl::UnavailableError("server is shutting down");
    if (tasks.size() > ring_.size() - waiting_) {
      return absl::ResourceExhaustedError(
          absl::StrCat("queue is full: ", waiting_, " of ", ring_.size(),
                       " places taken, ", tasks.size(), " needed"));
    }
    for (BatchTask* task : tasks) {
      task->arrival_ = now;
      task->due_ = DueTime(options_.policy, now, task->deadline);
      ring_[(first_ + waiting_) % ring_.size()] = task;
      ++waiting_;
    }
    observer_->OnQueueDepth(waiting_);
    to_wake = std::min(tasks.size(), free_workers_);
  }
  for (; to_wake > 0; --to_wake) changed_.NotifyOne();
  return absl::OkStatus();
}

void BatchScheduler::Hurry() {
  {
    MutexLock lock(&mutex_);
    hurrying_ = true;
  }
  changed_.NotifyAll();
}

void BatchScheduler::Drain() {
  {
    MutexLock lock(&mutex_);
    draining_ = true;
  }
  changed_.NotifyAll();
  MutexLock lock(&join_mutex_);
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
}

void BatchScheduler::Work(Classifier* classifier) {
  Batch batch(options_.policy.max_batch_size);
  while (Take(&batch)) {
    AnswerDropped(batch);
    if (!batch.tasks.empty()) Compute(classifier, &batch);
  }
}

bool BatchScheduler::Take(Batch* batch) {
  batch->Clear();
  MutexLock lock(&mutex_);
  ++free_workers_;
  while (true) {
    const Clock::time_point now = Clock::now();
    const BatchDecision decision =
        Decide(options_.policy, View(), now, free_workers_);
    if (decision.take > 0) {
      batch->taken = now;
      MoveFromQueue(decision.take, batch);
      --free_workers_;
      return true;
    }
    if (draining_ && waiting_ == 0) return false;
    if (decision.wake_at == Clock::time_point::max()) {
      changed_.Wait(&mutex_);
    } else {
      changed_.WaitUntil(&mutex_, decision.wake_at);
    }
  }
}

BatchTask* BatchScheduler::Waiting(size_t index) const {
  return ring_[(first_ + index) % ring_.size()];
}

QueueView BatchScheduler::View() const {
  QueueView view{.waiting = waiting_, .earliest_due = Clock::time_point::max()};
  if (hurrying_ || draining_) {
    view.earliest_due = Clock::time_point::min();
    return view;
  }
  // Without a delay the oldest is due first, and a full batch goes at once:
  // the scan is short.
  const size_t scanned = std::min(waiting_, options_.policy.max_batch_size);
  for (size_t i = 0; i < scanned; ++i) {
    view.earliest_due = std::min(view.earliest_due, Waiting(i)->due_);
    if (options_.policy.max_queue_delay == Clock::duration::zero()) break;
  }
  return view;
}

// Dead tasks don't count: the places that they leave are filled from behind.
void BatchScheduler::MoveFromQueue(size_t count, Batch* batch) {
  const size_t limit = options_.policy.max_batch_size;
  while (waiting_ > 0 && batch->tasks.size() < count &&
         batch->dropped.size() < limit) {
    BatchTask* task = Waiting(0);
    first_ = (first_ + 1) % ring_.size();
    --waiting_;
    // The deadline first: gRPC cancels a call that has passed it.
    if (task->deadline <= batch->taken) {
      batch->dropped.push_back({task, BatchObserver::Drop::kExpired});
    } else if (task->cancelled_.load(std::memory_order_relaxed)) {
      batch->dropped.push_back({task, BatchObserver::Drop::kCancelled});
    } else {
      batch->tasks.push_back(task);
    }
  }
  observer_->OnQueueDepth(waiting_);
}

void BatchScheduler::AnswerDropped(const Batch& batch) {
  for (const Batch::Dropped& dropped : batch.dropped) {
    const TaskTiming timing{.queue = batch.taken - dropped.task->arrival_,
                            .finished = batch.taken};
    observer_->OnDropped(dropped.reason);
    const bool expired = dropped.reason == BatchObserver::Drop::kExpired;
    dropped.task->Done(
        expired ? absl::DeadlineExceededError(absl::StrCat(
                      "deadline passed after ",
                      std::chrono::duration_cast<std::chrono::microseconds>(
                          timing.queue)
                          .count(),
                      " us in the queue; not computed"))
                : absl::CancelledError("cancelled in the queue; not computed"),
        nullptr, timing);
  }
}

void BatchScheduler::Compute(Classifier* classifier, Batch* batch) {
  const size_t size = batch->tasks.size();
  bool explain = false;
  for (BatchTask* task : batch->tasks) {
    batch->images.push_back(task->image);
    batch->attention.push_back(task->attention);
    explain = explain || task->attention != nullptr;
    observer_->OnTaken(batch->taken - task->arrival_);
  }
  const std::span<Attention* const> attention =
      explain ? std::span<Attention* const>(batch->attention)
              : std::span<Attention* const>();
  const Clock::time_point start = Clock::now();
  absl::Status status = classifier->Classify(
      batch->images, std::span(batch->predictions).first(size), attention);
  const Clock::time_point finished = Clock::now();
  const Clock::duration inference = finished - start;
  observer_->OnBatch(size, inference);
  if (!status.ok()) {
    status = absl::InternalError(
        absl::StrCat("inference failed: ", status.message()));
  }
  for (size_t i = 0; i < size; ++i) {
    BatchTask* task = batch->tasks[i];
    const TaskTiming timing{.queue = batch->taken - task->arrival_,
                            .inference = inference,
                            .batch_size = static_cast<int>(size),
                            .finished = finished};
    task->Done(status, status.ok() ? &batch->predictions[i] : nullptr, timing);
  }
}

}  // namespace vit
