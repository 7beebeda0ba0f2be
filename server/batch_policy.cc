#include "server/batch_policy.h"

#include <algorithm>

namespace vit {

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
  const size_t share = (queue.waiting + free_workers - 1) / free_workers;
  return {.take = std::min(share, options.max_batch_size)};
}

}  // namespace vit
