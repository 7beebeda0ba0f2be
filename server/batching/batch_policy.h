#ifndef MNIST_VIT_SERVER_BATCHING_BATCH_POLICY_H_
#define MNIST_VIT_SERVER_BATCHING_BATCH_POLICY_H_

#include <cstddef>
#include <optional>

#include "server/base/clock.h"

namespace vit {

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

// How long a worker is busy with a batch: per_image for each of its images and
// per_batch once.
struct BatchCost {
  Clock::duration per_image{0};
  Clock::duration per_batch{0};

  Clock::duration Of(size_t images) const {
    return per_batch + static_cast<Clock::rep>(images) * per_image;
  }
};

// What the policy may know of the load.
struct LoadView {
  size_t waiting = 0;  // tasks
  size_t places = 0;   // for more of them
  size_t workers = 1;
  size_t free_workers = 0;
  // The time that the batches under way still need, all together.
  Clock::duration under_way{0};
};

struct AdmissionDecision {
  enum class Verdict { kAdmitted, kFull, kLate };

  Verdict verdict = Verdict::kAdmitted;
  // If late: when the last of the tasks is expected to be done, from now.
  Clock::duration expected{0};
  // If full: after how long it may be otherwise, unless others come in between.
  // Zero: unknown. What is late only gets later by waiting.
  Clock::duration retry_after{0};
};

// Whether `count` tasks, at least 1, that must be done within `left` are taken
// into the queue, all or none. Without a cost nothing is late.
//
// What is expected leaves room for what makes it later: a queue that drains a
// quarter slower, and others that join the batch while it waits, up to as many
// again. Without that room, tasks are admitted under overload until all of them
// are done a little too late. The delay that `options` allow is not counted:
// DueTime bounds it.
//
// A free worker with an empty queue takes what comes, however long that is
// expected to take: so a cost that is wrong is learned anew.
//
// A pure function, like Decide.
AdmissionDecision Admit(const BatchPolicyOptions& options, const LoadView& load,
                        const std::optional<BatchCost>& cost, size_t count,
                        Clock::duration left);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_BATCHING_BATCH_POLICY_H_
