#include "server/batching/slot.h"

#include <chrono>
#include <exception>
#include <new>
#include <span>
#include <string>

#include "absl/strings/str_cat.h"

namespace vit {

Slot::Slot(size_t worker_index, size_t max_batch_size)
    : worker(worker_index), predictions_(max_batch_size) {
  tasks.reserve(max_batch_size);
  dropped.reserve(max_batch_size);
  images_.reserve(max_batch_size);
  attention_.reserve(max_batch_size);
}

void Slot::Begin(ModelQueue* of, Clock::time_point now) {
  queue = of->shared_from_this();
  tasks.clear();
  dropped.clear();
  images_.clear();
  attention_.clear();
  taken = now;
  computed = false;
}

void Slot::AnswerDropped() const {
  for (const Dropped& drop : dropped) {
    const TaskTiming timing{.queue = taken - drop.task->arrival,
                            .finished = taken};
    queue->observer().OnDropped(drop.reason);
    const auto waited =
        std::chrono::duration_cast<std::chrono::microseconds>(timing.queue);
    drop.task->Done(
        drop.reason == BatchObserver::Drop::kExpired
            ? absl::DeadlineExceededError(
                  absl::StrCat("deadline passed after ", waited.count(),
                               " us in the queue; not computed"))
            : absl::CancelledError("cancelled in the queue; not computed"),
        nullptr, timing);
  }
}

void Slot::Compute() {
  BatchObserver& observer = queue->observer();
  const size_t size = tasks.size();
  bool explain = false;
  for (BatchTask* task : tasks) {
    images_.push_back(task->image);
    attention_.push_back(task->attention);
    explain = explain || task->attention != nullptr;
    observer.OnTaken(taken - task->arrival);
  }
  const Clock::time_point start = Clock::now();
  const absl::Status status =
      Classify(explain ? std::span<Attention* const>(attention_)
                       : std::span<Attention* const>());
  const Clock::time_point finished = Clock::now();
  if (status.ok()) {
    observer.OnBatch(size, finished - start, leaving);
  } else {
    observer.OnBatchFailed(size);
  }
  // Attention takes longer, and says nothing of what others cost.
  computed = status.ok() && !explain;
  for (size_t i = 0; i < size; ++i) {
    const TaskTiming timing{.queue = taken - tasks[i]->arrival,
                            .inference = finished - start,
                            .batch_size = static_cast<int>(size),
                            .finished = finished};
    tasks[i]->Done(status, status.ok() ? &predictions_[i] : nullptr, timing);
  }
}

absl::Status Slot::Classify(std::span<Attention* const> attention) {
  Classifier& classifier = queue->classifier(worker);
  try {
    const absl::Status status = classifier.Classify(
        images_, std::span(predictions_).first(tasks.size()), attention);
    if (status.ok()) return status;
    return absl::InternalError(
        absl::StrCat("inference failed: ", std::string(status.message())));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        "inference failed: the server is out of memory");
  } catch (const std::exception& error) {
    return absl::InternalError(
        absl::StrCat("inference failed: ", error.what()));
  }
}

}  // namespace vit
