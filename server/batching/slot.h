#ifndef MNIST_VIT_SERVER_BATCHING_SLOT_H_
#define MNIST_VIT_SERVER_BATCHING_SLOT_H_

#include <cstddef>
#include <memory>
#include <vector>

#include "server/batching/model_queue.h"
#include "server/batching/task.h"

namespace vit {

// One worker's place for a batch, made once and used again and again, so that
// a batch allocates nothing. Belongs to the thread that computes the batch,
// but for the members that the pool's lock guards.
struct Slot {
  struct Dropped {
    BatchTask* task;
    BatchObserver::Drop reason;
  };

  Slot(size_t worker_index, size_t max_batch_size);

  // Makes it an empty batch of `of`, taken now.
  void Begin(ModelQueue* of, Clock::time_point now);

  // Answers the tasks that were taken but are not to be computed.
  void AnswerDropped() const;

  // Computes and answers the tasks; there is at least one. An exception of the
  // classifier's is an error of the batch.
  void Compute();

  const size_t worker;  // which of a queue's classifiers it uses

  // Keeps the queue until the batch is given back.
  std::shared_ptr<ModelQueue> queue;
  std::vector<BatchTask*> tasks;
  std::vector<Dropped> dropped;
  BatchObserver::Leaving leaving{};
  Clock::time_point taken;
  bool computed = false;  // it was, and its duration tells what others cost

  // Guarded by the pool's lock, also while the batch is under way.
  bool busy = false;
  Clock::duration expected{0};  // zero: unknown
  Clock::time_point began;      // when it became busy

 private:
  absl::Status Classify(std::span<Attention* const> attention);

  std::vector<Image> images_;
  std::vector<Attention*> attention_;
  std::vector<Prediction> predictions_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_BATCHING_SLOT_H_
