#include "server/batching/worker_pool.h"

#include <algorithm>
#include <utility>

namespace vit {

// Which batch a free worker takes, or when to ask again.
struct WorkerPool::Choice {
  ModelQueue* queue = nullptr;
  size_t take = 0;
  BatchObserver::Leaving leaving{};
  Clock::time_point wake_at = Clock::time_point::max();
};

WorkerPool::WorkerPool(size_t workers, size_t max_batch_size) {
  for (size_t i = 0; i < workers; ++i) {
    slots_.push_back(std::make_unique<Slot>(i, max_batch_size));
  }
  {
    MutexLock lock(&mutex_);
    for (const std::unique_ptr<Slot>& slot : slots_) {
      free_.push_back(slot.get());
    }
  }
  MutexLock lock(&join_mutex_);
  for (size_t i = 0; i < workers; ++i) {
    workers_.emplace_back([this] { Work(); });
  }
}

WorkerPool::~WorkerPool() { Drain(); }

void WorkerPool::AddQueue(ModelQueue* queue) {
  MutexLock lock(&mutex_);
  queues_.push_back(queue);
}

void WorkerPool::RemoveQueue(ModelQueue* queue) {
  MutexLock lock(&mutex_);
  std::erase(queues_, queue);
}

void WorkerPool::StopDelaying() {
  {
    MutexLock lock(&mutex_);
    no_delay_ = true;
  }
  changed_.NotifyAll();
}

void WorkerPool::Drain() {
  {
    MutexLock lock(&mutex_);
    draining_ = no_delay_ = true;
  }
  changed_.NotifyAll();
  MutexLock join_lock(&join_mutex_);
  for (std::thread& worker : workers_) worker.join();
  workers_.clear();
  // What other threads compute themselves.
  MutexLock lock(&mutex_);
  while (free_.size() < slots_.size()) changed_.Wait(&mutex_);
}

void WorkerPool::Work() {
  Slot* slot = nullptr;
  while ((slot = Next(slot)) != nullptr) {
    slot->AnswerDropped();
    if (!slot->tasks.empty()) slot->Compute();
  }
}

Slot* WorkerPool::Next(Slot* done) {
  if (done != nullptr) {
    // Ends after the lock, but before this thread waits: it may be the last to
    // hold a retired model.
    std::shared_ptr<ModelQueue> released;
    MutexLock lock(&mutex_);
    const Clock::time_point now = Clock::now();
    released = GiveBack(done, now);
    if (Slot* slot = TakeBatch(Choose(now), now); slot != nullptr) return slot;
  }
  MutexLock lock(&mutex_);
  while (waiting_ > 0 || !draining_) {
    const Clock::time_point now = Clock::now();
    const Choice choice = free_.empty() ? Choice{} : Choose(now);
    if (Slot* slot = TakeBatch(choice, now); slot != nullptr) return slot;
    if (choice.wake_at == Clock::time_point::max()) {
      changed_.Wait(&mutex_);
    } else {
      changed_.WaitUntil(&mutex_, choice.wake_at);
    }
  }
  return nullptr;
}

Slot* WorkerPool::TakeBatch(const Choice& choice, Clock::time_point now) {
  if (choice.take == 0) return nullptr;
  Slot* slot = TakeSlot(choice.queue, now);
  MoveFromQueue(choice, slot);
  return slot;
}

WorkerPool::Choice WorkerPool::Choose(Clock::time_point now) const {
  Choice choice;
  Clock::time_point oldest = Clock::time_point::max();
  for (ModelQueue* queue : queues_) {
    if (queue->waiting_.size() == 0) continue;
    const BatchPolicyOptions& policy = queue->options_.policy;
    const BatchDecision decision =
        Decide(policy, queue->View(no_delay_), now, free_.size());
    if (decision.take == 0) {
      choice.wake_at = std::min(choice.wake_at, decision.wake_at);
      continue;
    }
    const Clock::time_point arrival = queues_.size() > 1
                                          ? queue->waiting_.OldestArrival()
                                          : Clock::time_point::min();
    if (arrival >= oldest) continue;
    oldest = arrival;
    choice.queue = queue;
    choice.take = decision.take;
    choice.leaving = decision.take == policy.max_batch_size
                         ? BatchObserver::Leaving::kFull
                     : queue->delays() ? BatchObserver::Leaving::kDelayOver
                                       : BatchObserver::Leaving::kWorkerFree;
  }
  return choice;
}

Slot* WorkerPool::TakeSlot(ModelQueue* queue, Clock::time_point now) {
  Slot* slot = free_.back();
  free_.pop_back();
  slot->Begin(queue, now);
  slot->busy = true;
  slot->began = now;
  slot->expected = Clock::duration::zero();
  return slot;
}

// Dead tasks don't count: the places that they leave are filled from behind.
void WorkerPool::MoveFromQueue(const Choice& choice, Slot* slot) {
  ModelQueue& queue = *choice.queue;
  const size_t limit = queue.options_.policy.max_batch_size;
  slot->leaving = choice.leaving;
  while (queue.waiting_.size() > 0 && slot->tasks.size() < choice.take &&
         slot->dropped.size() < limit) {
    BatchTask* task = queue.waiting_.Pop();
    --waiting_;
    // The deadline first: gRPC cancels a call that has passed it.
    if (task->deadline <= slot->taken) {
      slot->dropped.push_back({task, BatchObserver::Drop::kExpired});
    } else if (task->cancelled_.load(std::memory_order_relaxed)) {
      slot->dropped.push_back({task, BatchObserver::Drop::kCancelled});
    } else {
      slot->tasks.push_back(task);
    }
  }
  Expect(slot);
  queue.observer_->OnQueueDepth(queue.waiting_.size());
}

void WorkerPool::Expect(Slot* slot) {
  const size_t size = slot->tasks.size();
  const std::optional<BatchCost>& cost = slot->queue->cost_;
  if (cost.has_value() && size > 0) slot->expected = cost->Of(size);
  last_batch_.store(size, std::memory_order_relaxed);
}

// The duration includes the answers: until they are given, the batch's thread
// can take no other.
std::shared_ptr<ModelQueue> WorkerPool::GiveBack(Slot* slot,
                                                 Clock::time_point now) {
  free_.push_back(slot);
  slot->busy = false;
  ModelQueue& queue = *slot->queue;
  if (slot->computed) {
    queue.durations_.Learn(slot->tasks.size(), now - slot->taken);
    queue.cost_ = queue.durations_.cost();
    if (queue.cost_.has_value()) {
      queue.observer_->OnCost(queue.cost_->per_image, queue.cost_->per_batch);
    }
  }
  return std::move(slot->queue);
}

void WorkerPool::Return(Slot* slot) {
  std::shared_ptr<ModelQueue> released;  // ends after the lock
  bool wake = false;
  {
    MutexLock lock(&mutex_);
    released = GiveBack(slot, Clock::now());
    wake = waiting_ > 0 || draining_;
  }
  if (wake) changed_.NotifyAll();
}

Clock::duration WorkerPool::OldestWait(Clock::time_point now) const {
  MutexLock lock(&mutex_);
  Clock::duration longest{0};
  for (const ModelQueue* queue : queues_) {
    const Clock::time_point oldest = queue->waiting_.OldestArrival();
    if (oldest < now) longest = std::max(longest, now - oldest);
  }
  return longest;
}

Clock::duration WorkerPool::LongestOverrun(Clock::time_point now) const {
  MutexLock lock(&mutex_);
  Clock::duration longest{0};
  for (const std::unique_ptr<Slot>& slot : slots_) {
    if (!slot->busy) continue;
    longest = std::max(longest, now - slot->began - 4 * slot->expected);
  }
  return longest;
}

double WorkerPool::Utilization() const {
  MutexLock lock(&mutex_);
  const auto workers = static_cast<double>(slots_.size());
  double load = static_cast<double>(slots_.size() - free_.size()) / workers;
  for (const ModelQueue* queue : queues_) {
    const size_t waiting = queue->waiting_.size();
    if (waiting == 0 || !queue->cost_.has_value()) continue;
    load += Seconds(queue->cost_->Of(waiting)) / workers;
  }
  return load;
}

}  // namespace vit
