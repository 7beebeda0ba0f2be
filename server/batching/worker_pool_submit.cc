// What happens to tasks that come and that are cancelled. The workers' side is
// in worker_pool.cc.

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/retry_after.h"
#include "server/batching/worker_pool.h"

namespace vit {
namespace {

Clock::rep Microseconds(Clock::duration duration) {
  return std::chrono::duration_cast<std::chrono::microseconds>(duration)
      .count();
}

absl::Status Draining() {
  return absl::UnavailableError("server is shutting down");
}

}  // namespace

// What was decided about tasks that were submitted, as far as it needs the
// lock; the rest, such as the text of an error, is made without it.
struct WorkerPool::Refusal {
  bool draining = false;
  AdmissionDecision admission = {};
  size_t waiting = 0;
  size_t needed = 0;
  Clock::duration left{0};

  bool accepted() const {
    return !draining &&
           admission.verdict == AdmissionDecision::Verdict::kAdmitted;
  }
  absl::Status ToStatus(const ModelQueue& queue) const;
};

absl::Status WorkerPool::Refusal::ToStatus(const ModelQueue& queue) const {
  if (draining) return Draining();
  if (accepted()) return absl::OkStatus();
  if (admission.verdict == AdmissionDecision::Verdict::kLate) {
    queue.observer_->OnRejected(BatchObserver::Rejection::kLate, needed);
    return absl::ResourceExhaustedError(absl::StrCat(
        "would be late: expected to take ", Microseconds(admission.expected),
        " us, ", Microseconds(left), " us left, ", waiting, " images waiting"));
  }
  queue.observer_->OnRejected(BatchObserver::Rejection::kFull, needed);
  std::string message = absl::StrCat("queue is full: ", waiting, " of ",
                                     queue.options_.max_queue_size,
                                     " places taken, ", needed, " needed");
  if (admission.retry_after <= Clock::duration::zero()) {
    return absl::ResourceExhaustedError(message);
  }
  absl::StrAppend(&message, "; try again in ",
                  Microseconds(admission.retry_after), " us");
  absl::Status status = absl::ResourceExhaustedError(message);
  SetRetryAfter(admission.retry_after, &status);
  return status;
}

absl::Status WorkerPool::SubmitAll(ModelQueue& queue,
                                   std::span<BatchTask* const> tasks) {
  const Clock::time_point now = Clock::now();
  std::vector<BatchTask*> displaced;
  Refusal refusal;
  size_t to_wake = 0;
  {
    MutexLock lock(&mutex_);
    refusal = Accept(queue, tasks, now, &displaced);
    if (refusal.accepted()) to_wake = std::min(tasks.size(), free_.size());
  }
  for (; to_wake > 0; --to_wake) changed_.NotifyOne();
  AnswerDisplaced(displaced);
  return refusal.ToStatus(queue);
}

void WorkerPool::SubmitBurst(std::span<BatchTask* const> tasks,
                             bool compute_last) {
  const Clock::time_point now = Clock::now();
  std::vector<BatchTask*> displaced;
  std::vector<std::pair<BatchTask*, Refusal>> refused;
  Slot* slot = nullptr;
  size_t to_wake = 0;
  {
    MutexLock lock(&mutex_);
    const size_t before = waiting_;
    for (size_t i = 0; i < tasks.size(); ++i) {
      BatchTask* task = tasks[i];
      const bool last = i + 1 == tasks.size();
      if (last && compute_last && before == 0 &&
          CanComputeInline(*task, waiting_, now)) {
        slot = TakeSlot(task->queue, now);
        slot->leaving = BatchObserver::Leaving::kInline;
        slot->tasks.push_back(task);
        Expect(slot);
      } else {
        const Refusal refusal =
            Accept(*task->queue, std::span(&task, 1), now, &displaced);
        if (!refusal.accepted()) refused.emplace_back(task, refusal);
      }
    }
    to_wake = std::min(waiting_, free_.size());
  }
  for (; to_wake > 0; --to_wake) changed_.NotifyOne();
  AnswerDisplaced(displaced);
  for (const auto& [task, refusal] : refused) {
    task->Done(refusal.ToStatus(*task->queue), nullptr, {.finished = now});
  }
  if (slot == nullptr) return;
  slot->Compute();
  Return(slot);
}

WorkerPool::Refusal WorkerPool::Accept(ModelQueue& queue,
                                       std::span<BatchTask* const> tasks,
                                       Clock::time_point now,
                                       std::vector<BatchTask*>* displaced) {
  Refusal result{.draining = draining_,
                 .waiting = queue.waiting_.size(),
                 .needed = tasks.size()};
  if (draining_) return result;
  Clock::time_point deadline = Clock::time_point::max();
  for (const BatchTask* task : tasks) {
    deadline = std::min(deadline, task->deadline);
  }
  // What has expired already is answered as such when its turn comes.
  const bool has_live_deadline =
      deadline > now && deadline != Clock::time_point::max();
  result.left = has_live_deadline ? deadline - now : Clock::duration::max();
  const BatchTask& first = *tasks.front();
  const LoadView load = Load(queue, first, tasks.size(), now);
  result.admission = Admit(queue.options_.policy, load, queue.cost_,
                           tasks.size(), result.left);
  const size_t displaced_before = displaced->size();
  if (result.admission.verdict == AdmissionDecision::Verdict::kFull &&
      Displace(queue, first, tasks.size(), displaced)) {
    result.admission = {};
    waiting_ -= displaced->size() - displaced_before;
  }
  if (!result.accepted()) return result;
  for (BatchTask* task : tasks) {
    task->queue = &queue;
    task->due_ = DueTime(queue.options_.policy, task->arrival, task->deadline);
    queue.waiting_.Push(task);
  }
  waiting_ += tasks.size();
  queue.observer_->OnQueueDepth(queue.waiting_.size());
  return result;
}

bool WorkerPool::Displace(ModelQueue& queue, const BatchTask& task,
                          size_t count, std::vector<BatchTask*>* displaced) {
  FairQueue& waiting = queue.waiting_;
  const auto share = static_cast<size_t>(task.share);
  const size_t shares = waiting.SharesBeside(task.flow) + share;
  const size_t mine = waiting.SizeOf(task.flow);
  if (mine + count > waiting.capacity() * share / shares) return false;
  while (waiting.size() + count > waiting.capacity()) {
    displaced->push_back(waiting.RemoveNewestOfLargest());
  }
  return true;
}

LoadView WorkerPool::Load(const ModelQueue& queue, const BatchTask& task,
                          size_t count, Clock::time_point now) const {
  const FairQueue& waiting = queue.waiting_;
  LoadView load{.waiting = waiting.size(),
                .places = waiting.capacity() - waiting.size(),
                .workers = slots_.size(),
                .free_workers = free_.size()};
  // Others go before it only as long as they take turns with it.
  const size_t mine = waiting.SizeOf(task.flow);
  if (mine < waiting.size()) {
    const auto share = static_cast<size_t>(task.share);
    const size_t others = waiting.SharesBeside(task.flow);
    const size_t theirs = ((mine + count) * others + share - 1) / share;
    load.waiting = std::min(load.waiting, mine + theirs);
  }
  for (const std::unique_ptr<Slot>& slot : slots_) {
    const Clock::time_point end = slot->began + slot->expected;
    if (slot->busy && end > now) load.under_way += end - now;
  }
  return load;
}

bool WorkerPool::CanComputeInline(const BatchTask& task, size_t queued_before,
                                  Clock::time_point now) const {
  const ModelQueue& queue = *task.queue;
  // Those that are queued before it have a worker, too.
  const bool free = free_.size() > std::min<size_t>(queued_before, 1);
  const bool quick = queue.cost_.has_value() &&
                     queue.cost_->Of(1) <= kInlineCost &&
                     task.attention == nullptr;
  return free && quick && !queue.delays() && !draining_ && task.deadline > now;
}

void WorkerPool::AnswerDisplaced(std::span<BatchTask* const> tasks) const {
  const Clock::time_point now = Clock::now();
  for (BatchTask* task : tasks) {
    task->queue->observer_->OnRejected(BatchObserver::Rejection::kDisplaced, 1);
    task->Done(absl::ResourceExhaustedError(
                   "queue is full, and other clients have a smaller share of "
                   "it; not computed"),
               nullptr, {.queue = now - task->arrival, .finished = now});
  }
}

void WorkerPool::Cancel(std::span<BatchTask* const> tasks) {
  const Clock::time_point now = Clock::now();
  std::vector<BatchTask*> removed;
  {
    MutexLock lock(&mutex_);
    for (BatchTask* task : tasks) {
      task->cancelled_.store(true, std::memory_order_relaxed);
      if (!task->queued_) continue;
      task->queue->waiting_.Remove(task);
      removed.push_back(task);
    }
    waiting_ -= removed.size();
    for (BatchTask* task : removed) {
      task->queue->observer_->OnQueueDepth(task->queue->waiting_.size());
    }
  }
  for (BatchTask* task : removed) {
    // The deadline first: gRPC cancels a call that has passed it.
    const bool expired = task->deadline <= now;
    task->queue->observer_->OnDropped(expired
                                          ? BatchObserver::Drop::kExpired
                                          : BatchObserver::Drop::kCancelled);
    const TaskTiming timing{.queue = now - task->arrival, .finished = now};
    task->Done(
        expired ? absl::DeadlineExceededError(absl::StrCat(
                      "deadline passed after ", Microseconds(timing.queue),
                      " us in the queue; not computed"))
                : absl::CancelledError("cancelled in the queue; not computed"),
        nullptr, timing);
  }
}

}  // namespace vit
