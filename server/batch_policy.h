#ifndef MNIST_VIT_SERVER_BATCH_POLICY_H_
#define MNIST_VIT_SERVER_BATCH_POLICY_H_

#include <chrono>
#include <cstddef>

namespace vit {

using Clock = std::chrono::steady_clock;

struct BatchPolicyOptions {
  // The largest batch; at least 1.
  size_t max_batch_size = 32;
  // How long a task may wait, from its arrival, for others to share its batch.
  // Zero: a free worker never waits.
  Clock::duration max_queue_delay{0};
};

// What the policy may know of the queue.
struct QueueView {
  size_t waiting = 0;              // tasks
  Clock::time_point earliest_due;  // the least DueTime of them
};

struct BatchDecision {
  // How many tasks the worker takes now, the oldest first. Zero: none yet.
  size_t take = 0;
  // If `take` is zero: when to ask again, unless a task arrives before.
  // time_point::max(): only when a task arrives.
  Clock::time_point wake_at = Clock::time_point::max();
};

// When a task has waited long enough for company: max_queue_delay after its
// arrival, or half-way to its deadline if that is earlier, so that a delay
// longer than the caller's patience leaves time to compute.
Clock::time_point DueTime(const BatchPolicyOptions& options,
                          Clock::time_point arrival,
                          Clock::time_point deadline);

// What a free worker should do. `free_workers`, at least 1, counts the one that
// asks: tasks that are due are shared out evenly among the free workers, for
// half a batch on each of two cores is ready sooner than a whole one on one.
//
// A pure function: it reads no clock, takes no lock and never blocks.
BatchDecision Decide(const BatchPolicyOptions& options, const QueueView& queue,
                     Clock::time_point now, size_t free_workers);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_BATCH_POLICY_H_
