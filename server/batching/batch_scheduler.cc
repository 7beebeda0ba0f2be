#include "server/batching/batch_scheduler.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/retry_after.h"

namespace vit {
namespace {

class NullObserver : public BatchObserver {
 public:
  void OnRejected(Rejection, size_t) override {}
  void OnQueueDepth(size_t) override {}
  void OnTaken(Clock::duration) override {}
  void OnDropped(Drop) override {}
  void OnBatch(size_t, Clock::duration) override {}
  void OnCost(const BatchCost&) override {}
};

BatchObserver* OrNull(BatchObserver* observer) {
  static NullObserver null_observer;
  return observer != nullptr ? observer : &null_observer;
}

Clock::rep Microseconds(Clock::duration duration) {
  return std::chrono::duration_cast<std::chrono::microseconds>(duration)
      .count();
}

absl::Status Rejected(std::string message, Clock::duration retry_after) {
  if (retry_after <= Clock::duration::zero()) {
    return absl::ResourceExhaustedError(message);
  }
  absl::StrAppend(&message, "; try again in ", Microseconds(retry_after),
                  " us");
  absl::Status status = absl::ResourceExhaustedError(message);
  SetRetryAfter(retry_after, &status);
  return status;
}

}  // namespace

// A classifier and what it works on: made once and reused, so that a batch
// allocates nothing.
struct BatchScheduler::Batch {
  struct Dropped {
    BatchTask* task;
    BatchObserver::Drop reason;
  };

  Batch(std::unique_ptr<Classifier> by, size_t max_batch_size)
      : classifier(std::move(by)), predictions(max_batch_size) {
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
    computed = false;
  }

  const std::unique_ptr<Classifier> classifier;
  std::vector<BatchTask*> tasks;
  std::vector<Dropped> dropped;
  std::vector<Image> images;
  std::vector<Attention*> attention;
  std::vector<Prediction> predictions;
  Clock::time_point taken;
  // Guarded by the scheduler's lock, also while the batch is under way: when it
  // is expected to be done; long ago if it is free.
  Clock::time_point expected_end = Clock::time_point::min();
  bool computed = false;
};

std::vector<std::unique_ptr<BatchScheduler::Batch>> BatchScheduler::NewBatches(
    std::vector<std::unique_ptr<Classifier>> classifiers,
    size_t max_batch_size) {
  std::vector<std::unique_ptr<Batch>> batches;
  for (std::unique_ptr<Classifier>& classifier : classifiers) {
    batches.push_back(
        std::make_unique<Batch>(std::move(classifier), max_batch_size));
  }
  return batches;
}

BatchScheduler::BatchScheduler(
    const BatchSchedulerOptions& options,
    std::vector<std::unique_ptr<Classifier>> classifiers,
    BatchObserver* observer)
    : options_(options),
      observer_(OrNull(observer)),
      batches_(
          NewBatches(std::move(classifiers), options.policy.max_batch_size)),
      ring_(options.max_queue_size),
      durations_(options.durations),
      cost_(options.durations.cost()) {
  {
    MutexLock lock(&mutex_);
    for (const std::unique_ptr<Batch>& batch : batches_) {
      free_.push_back(batch.get());
    }
  }
  MutexLock lock(&join_mutex_);
  for (size_t worker = 0; worker < batches_.size(); ++worker) {
    workers_.emplace_back([this] { Work(); });
  }
}

BatchScheduler::~BatchScheduler() { Drain(); }

absl::Status BatchScheduler::Submit(BatchTask* task, Clock::time_point now) {
  return SubmitAll(std::span(&task, 1), now);
}

absl::Status BatchScheduler::SubmitAll(std::span<BatchTask* const> tasks,
                                       Clock::time_point now) {
  return Accept(tasks, now, /*alone=*/nullptr);
}

absl::Status BatchScheduler::ComputeOrSubmit(BatchTask* task,
                                             Clock::time_point now) {
  Batch* batch = nullptr;
  absl::Status status = Accept(std::span(&task, 1), now, &batch);
  if (batch == nullptr) return status;
  Compute(batch);
  bool wake = false;
  {
    MutexLock lock(&mutex_);
    GiveBack(batch, Clock::now());
    wake = waiting_ > 0 || draining_;
  }
  // Those who wait for a task and who waits for the end wait alike.
  if (wake) changed_.NotifyAll();
  return status;
}

absl::Status BatchScheduler::Accept(std::span<BatchTask* const> tasks,
                                    Clock::time_point now, Batch** alone) {
  Clock::time_point deadline = Clock::time_point::max();
  for (const BatchTask* task : tasks) {
    deadline = std::min(deadline, task->deadline);
  }
  Admission admission;
  size_t waiting = 0;
  size_t to_wake = 0;
  {
    MutexLock lock(&mutex_);
    if (draining_) return absl::UnavailableError("server is shutting down");
    if (alone != nullptr && AtOnce(*tasks.front(), now)) {
      BatchTask* task = tasks.front();
      task->arrival_ = now;
      *alone = Begin(now);
      (*alone)->tasks.push_back(task);
      Expect(*alone);
      return absl::OkStatus();
    }
    // What has expired already is answered as such when its turn comes.
    const bool hopeful = deadline > now && deadline != Clock::time_point::max();
    admission = Admit(options_.policy, Load(now), cost_, tasks.size(),
                      hopeful ? deadline - now : Clock::duration::max());
    waiting = waiting_;
    if (admission.verdict == Admission::Verdict::kAdmitted) {
      for (BatchTask* task : tasks) {
        task->arrival_ = now;
        task->due_ = DueTime(options_.policy, now, task->deadline);
        ring_[(first_ + waiting_) % ring_.size()] = task;
        ++waiting_;
      }
      observer_->OnQueueDepth(waiting_);
      to_wake = std::min(tasks.size(), free_.size());
    }
  }
  for (; to_wake > 0; --to_wake) changed_.NotifyOne();
  switch (admission.verdict) {
    case Admission::Verdict::kAdmitted:
      return absl::OkStatus();
    case Admission::Verdict::kFull:
      observer_->OnRejected(BatchObserver::Rejection::kFull, tasks.size());
      return Rejected(absl::StrCat("queue is full: ", waiting, " of ",
                                   options_.max_queue_size, " places taken, ",
                                   tasks.size(), " needed"),
                      admission.retry_after);
    case Admission::Verdict::kLate:
      break;
  }
  observer_->OnRejected(BatchObserver::Rejection::kLate, tasks.size());
  return Rejected(absl::StrCat("would be late: expected to take ",
                               Microseconds(admission.expected), " us, ",
                               Microseconds(deadline - now), " us left, ",
                               waiting, " images waiting"),
                  admission.retry_after);
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
  MutexLock join_lock(&join_mutex_);
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  // What other threads compute themselves.
  MutexLock lock(&mutex_);
  while (free_.size() < batches_.size()) changed_.Wait(&mutex_);
}

void BatchScheduler::Work() {
  Batch* batch = nullptr;
  while ((batch = Next(batch)) != nullptr) {
    AnswerDropped(*batch);
    if (!batch->tasks.empty()) Compute(batch);
  }
}

BatchScheduler::Batch* BatchScheduler::Next(Batch* done) {
  MutexLock lock(&mutex_);
  Clock::time_point now = Clock::now();
  if (done != nullptr) GiveBack(done, now);
  while (waiting_ > 0 || !draining_) {
    BatchDecision decision;
    if (!free_.empty()) {
      decision = Decide(options_.policy, View(), now, free_.size());
    }
    if (decision.take > 0) {
      Batch* batch = Begin(now);
      MoveFromQueue(decision.take, batch);
      return batch;
    }
    if (decision.wake_at == Clock::time_point::max()) {
      changed_.Wait(&mutex_);
    } else {
      changed_.WaitUntil(&mutex_, decision.wake_at);
    }
    now = Clock::now();
  }
  return nullptr;
}

bool BatchScheduler::AtOnce(const BatchTask& task,
                            Clock::time_point now) const {
  const bool free = waiting_ == 0 && !free_.empty();
  const bool delayed =
      options_.policy.max_queue_delay > Clock::duration::zero();
  const bool quick = cost_.has_value() && cost_->Of(1) <= kAtOnce;
  return free && !delayed && quick && task.deadline > now;
}

BatchScheduler::Batch* BatchScheduler::Begin(Clock::time_point now) {
  Batch* batch = free_.back();
  free_.pop_back();
  batch->Clear();
  batch->taken = now;
  return batch;
}

// The duration includes the answers: until they are given, the batch's thread
// can take no other.
void BatchScheduler::GiveBack(Batch* batch, Clock::time_point now) {
  free_.push_back(batch);
  batch->expected_end = Clock::time_point::min();
  if (!batch->computed) return;
  durations_.Learn(batch->tasks.size(), now - batch->taken);
  cost_ = durations_.cost();
  if (cost_.has_value()) observer_->OnCost(*cost_);
}

void BatchScheduler::Expect(Batch* batch) {
  if (cost_.has_value() && !batch->tasks.empty()) {
    batch->expected_end = batch->taken + cost_->Of(batch->tasks.size());
  }
  last_batch_.store(batch->tasks.size(), std::memory_order_relaxed);
}

LoadView BatchScheduler::Load(Clock::time_point now) const {
  LoadView load{.waiting = waiting_,
                .places = ring_.size() - waiting_,
                .workers = batches_.size(),
                .free_workers = free_.size()};
  for (const std::unique_ptr<Batch>& batch : batches_) {
    if (batch->expected_end > now) load.under_way += batch->expected_end - now;
  }
  return load;
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
  Expect(batch);
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
                      "deadline passed after ", Microseconds(timing.queue),
                      " us in the queue; not computed"))
                : absl::CancelledError("cancelled in the queue; not computed"),
        nullptr, timing);
  }
}

void BatchScheduler::Compute(Batch* batch) {
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
  absl::Status status = batch->classifier->Classify(
      batch->images, std::span(batch->predictions).first(size), attention);
  const Clock::time_point finished = Clock::now();
  const Clock::duration inference = finished - start;
  observer_->OnBatch(size, inference);
  batch->computed = status.ok();
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
