#ifndef MNIST_VIT_SERVER_BATCHING_TASK_H_
#define MNIST_VIT_SERVER_BATCHING_TASK_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "model/classifier.h"
#include "model/image.h"
#include "server/base/clock.h"

namespace vit {

class ModelQueue;

// Where the time of one task went.
struct TaskTiming {
  Clock::duration queue{0};      // from its arrival to its being taken
  Clock::duration inference{0};  // its whole batch's; zero if not computed
  int batch_size = 0;            // zero if not computed
  Clock::time_point finished;    // when its batch was computed, or it dropped
};

// One image on its way through a WorkerPool. Whoever submits a task owns it,
// and keeps the task, its image and its queue alive until Done is called.
class BatchTask {
 public:
  BatchTask() = default;
  virtual ~BatchTask() = default;
  BatchTask(const BatchTask&) = delete;
  BatchTask& operator=(const BatchTask&) = delete;

  // Called exactly once for every task that was accepted, by a thread that
  // holds no lock of the pool: the one that computed the task, or the one that
  // cancelled it. The prediction is null unless the status is OK, and belongs
  // to the pool: copy what is needed. The task may destroy itself here.
  //
  // DeadlineExceeded and Cancelled: dropped without having been computed.
  // ResourceExhausted: displaced by a client with a smaller share of the queue,
  // or memory ran out. Internal: the classifier failed.
  virtual void Done(const absl::Status& status, const Prediction* prediction,
                    const TaskTiming& timing) = 0;

  // The submitter sets these before the task is submitted and leaves them alone
  // until Done.
  ModelQueue* queue = nullptr;
  Image image;
  Clock::time_point arrival;  // when the request came
  Clock::time_point deadline = Clock::time_point::max();
  Attention* attention = nullptr;  // not null: filled before Done
  // Tasks of one client have one flow; see FairQueue.
  uint64_t flow = 0;
  int share = 1;  // of the queue: as large as that of so many clients
  int cost = 1;   // of the client's share, in images

 private:
  friend class FairQueue;
  friend class ModelQueue;
  friend class WorkerPool;

  std::atomic<bool> cancelled_{false};
  // The rest is guarded by the pool's lock.
  bool queued_ = false;
  Clock::time_point due_;
  BatchTask* next_ = nullptr;
  BatchTask* previous_ = nullptr;
};

// Learns what happens to the tasks of one model, for metrics. Called by many
// threads at once, some of them under the pool's lock: be quick, and don't call
// back.
class BatchObserver {
 public:
  enum class Rejection { kFull, kLate, kDisplaced };
  enum class Drop { kExpired, kCancelled };
  // Why a batch did not wait for more tasks.
  enum class Leaving { kFull, kDelayOver, kWorkerFree, kInline };

  virtual ~BatchObserver() = default;
  virtual void OnRejected(Rejection reason, size_t tasks) = 0;
  virtual void OnQueueDepth(size_t waiting) = 0;
  virtual void OnTaken(Clock::duration queued) = 0;
  virtual void OnDropped(Drop reason) = 0;
  // A batch was computed.
  virtual void OnBatch(size_t size, Clock::duration inference,
                       Leaving leaving) = 0;
  // The classifier failed, so that a batch was not computed.
  virtual void OnBatchFailed(size_t size) = 0;
  // An image was answered with this label; `respond` is the time from the end
  // of its batch until the answer was made.
  virtual void OnPrediction(int label, Clock::duration respond) = 0;
  // What a batch is expected to cost from now on.
  virtual void OnCost(Clock::duration per_image, Clock::duration per_batch) = 0;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_BATCHING_TASK_H_
