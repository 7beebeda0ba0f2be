#ifndef MNIST_VIT_SERVER_BATCHING_FAIR_QUEUE_H_
#define MNIST_VIT_SERVER_BATCHING_FAIR_QUEUE_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "server/batching/task.h"

namespace vit {

// Waiting tasks, which leave by deficit round robin over their flows (Shreedhar
// and Varghese 1995): as long as several clients wait, each gets its share of
// the images computed, however many tasks it has here. The shares are the same,
// unless BatchTask::share says otherwise. With one client it is first in, first
// out.
//
// Flows are hashed into kFlows lists, so the memory is fixed; two clients that
// hash alike share one share. The lists run through the tasks themselves:
// nothing is allocated.
//
// Thread-compatible. Constant time, but for the functions that say otherwise.
class FairQueue {
 public:
  static constexpr size_t kFlows = 256;
  // Images that a flow with one share may take in one turn; at least the
  // largest cost.
  static constexpr int kQuantum = 4;

  // At most `capacity` tasks, at least 1.
  explicit FairQueue(size_t capacity) : capacity_(capacity) {}

  size_t size() const { return size_; }
  size_t capacity() const { return capacity_; }
  // The shares of all flows that have tasks here; and those of all but one.
  size_t shares() const { return shares_; }
  size_t SharesBeside(uint64_t flow) const {
    return shares_ - flows_[flow % kFlows].share;
  }
  // Tasks of one flow.
  size_t SizeOf(uint64_t flow) const { return flows_[flow % kFlows].size; }

  // There is room.
  void Push(BatchTask* task);
  // The next task; null if there is none.
  BatchTask* Pop();
  // Takes out a task that is here.
  void Remove(BatchTask* task);
  // Takes out the newest task of the flow that has the most for its share; null
  // if there is none. Linear in the flows.
  BatchTask* RemoveNewestOfLargest();
  // Looks at the tasks of every flow, each flow's oldest first, until `visit`
  // has seen `limit`.
  template <typename Visit>
  void ForEach(size_t limit, Visit visit) const;
  // When the task that waits longest arrived; time_point::max() if none waits.
  // Linear in the flows.
  Clock::time_point OldestArrival() const;

 private:
  struct Flow {
    BatchTask* first = nullptr;
    BatchTask* last = nullptr;
    size_t size = 0;
    size_t share = 0;      // the last task's; 0 without tasks
    int credit = 0;        // images that it may still take in this turn
    bool in_turn = false;  // in `turns_`
  };

  static int Quantum(const Flow& flow) {
    return kQuantum * static_cast<int>(flow.share);
  }
  void SetShare(Flow* flow, size_t share);
  void Unlink(Flow* flow, BatchTask* task);

  const size_t capacity_;
  size_t size_ = 0;
  size_t shares_ = 0;
  std::array<Flow, kFlows> flows_;
  // A ring of the flows that take turns. One that ran empty stays until its
  // turn comes.
  std::array<uint16_t, kFlows> turns_{};
  size_t first_turn_ = 0;
  size_t turn_count_ = 0;
};

template <typename Visit>
void FairQueue::ForEach(size_t limit, Visit visit) const {
  for (size_t i = 0; i < turn_count_; ++i) {
    const Flow& flow = flows_[turns_[(first_turn_ + i) % kFlows]];
    for (const BatchTask* task = flow.first; task != nullptr;
         task = task->next_) {
      if (limit-- == 0) return;
      visit(*task);
    }
  }
}

}  // namespace vit

#endif  // MNIST_VIT_SERVER_BATCHING_FAIR_QUEUE_H_
