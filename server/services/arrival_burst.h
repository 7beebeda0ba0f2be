#ifndef MNIST_VIT_SERVER_SERVICES_ARRIVAL_BURST_H_
#define MNIST_VIT_SERVER_SERVICES_ARRIVAL_BURST_H_

#include <array>
#include <cstddef>
#include <span>
#include <utility>

#include "server/batching/worker_pool.h"
#include "server/rpc/event_loop.h"

namespace vit {

// Gathers the images that come in together by one event loop, and submits them
// as one burst once nothing else has come, of which the pool may compute the
// last on the loop's thread. For use on that thread.
class ArrivalBurst final : public IdleWork {
 public:
  explicit ArrivalBurst(WorkerPool* pool) : pool_(pool) {}

  // Submits the task soon; WorkerPool::SubmitBurst says how it is answered.
  void Add(BatchTask* task, EventLoop* loop) {
    tasks_[size_++] = task;
    if (size_ == tasks_.size()) {
      Submit(/*compute_last=*/false);
    } else {
      loop->RunWhenIdle(this);
    }
  }

  void Run() override {
    if (size_ > 0) Submit(/*compute_last=*/true);
  }

 private:
  void Submit(bool compute_last) {
    pool_->SubmitBurst(std::span(tasks_).first(std::exchange(size_, 0)),
                       compute_last);
  }

  WorkerPool* const pool_;
  std::array<BatchTask*, WorkerPool::kMaxBurst> tasks_{};
  size_t size_ = 0;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_SERVICES_ARRIVAL_BURST_H_
