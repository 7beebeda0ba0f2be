#include "server/batching/batch_policy.h"

#include <algorithm>

namespace vit {
namespace {

size_t RoundedUp(size_t dividend, size_t divisor) {
  return (dividend + divisor - 1) / divisor;
}

// When a worker begins the batch that has `before` full ones in front of it.
Clock::duration StartOf(size_t before, const BatchPolicyOptions& options,
                        const LoadView& load, const BatchCost& cost) {
  if (before < load.free_workers) return Clock::duration::zero();
  const Clock::duration work =
      load.under_way +
      static_cast<Clock::rep>(before) * cost.Of(options.max_batch_size);
  return work / static_cast<Clock::rep>(load.workers);
}

// When the last of `tasks` that wait is done.
Clock::duration EndOf(size_t tasks, const BatchPolicyOptions& options,
                      const LoadView& load, const BatchCost& cost) {
  const size_t batches = RoundedUp(tasks, options.max_batch_size);
  size_t size = batches > 1 ? options.max_batch_size : tasks;
  if (batches <= load.free_workers) size = RoundedUp(tasks, load.free_workers);
  return StartOf(batches - 1, options, load, cost) * 5 / 4 + cost.Of(size) * 2;
}

}  // namespace

Clock::time_point DueTime(const BatchPolicyOptions& options,
                          Clock::time_point arrival,
                          Clock::time_point deadline) {
  const Clock::time_point delayed = arrival + options.max_queue_delay;
  if (deadline <= arrival) return arrival;
  return std::min(delayed, arrival + (deadline - arrival) / 2);
}

BatchDecision Decide(const BatchPolicyOptions& options, const QueueView& queue,
                     Clock::time_point now, size_t free_workers) {
  if (queue.waiting == 0) return {};
  const bool full = queue.waiting >= options.max_batch_size;
  if (!full && now < queue.earliest_due) {
    return {.take = 0, .wake_at = queue.earliest_due};
  }
  const size_t share = RoundedUp(queue.waiting, free_workers);
  return {.take = std::min(share, options.max_batch_size)};
}

AdmissionDecision Admit(const BatchPolicyOptions& options, const LoadView& load,
                        const std::optional<BatchCost>& cost, size_t count,
                        Clock::duration left) {
  if (count > load.places) {
    AdmissionDecision full{.verdict = AdmissionDecision::Verdict::kFull};
    if (cost.has_value()) {
      const size_t batches =
          RoundedUp(count - load.places, options.max_batch_size);
      full.retry_after = StartOf(batches - 1, options, load, *cost);
    }
    return full;
  }
  const bool idle = load.waiting == 0 && load.free_workers > 0;
  if (idle || !cost.has_value()) return {};
  const Clock::duration expected =
      EndOf(load.waiting + count, options, load, *cost);
  if (expected <= left) return {};
  return {.verdict = AdmissionDecision::Verdict::kLate, .expected = expected};
}

}  // namespace vit
