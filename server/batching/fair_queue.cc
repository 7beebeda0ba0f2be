#include "server/batching/fair_queue.h"

#include <algorithm>

namespace vit {

void FairQueue::Push(BatchTask* task) {
  const size_t index = task->flow % kFlows;
  Flow& flow = flows_[index];
  task->next_ = nullptr;
  task->previous_ = flow.last;
  (flow.last != nullptr ? flow.last->next_ : flow.first) = task;
  flow.last = task;
  task->queued_ = true;
  ++size_;
  ++flow.size;
  SetShare(&flow, static_cast<size_t>(task->share));
  if (flow.in_turn) return;
  flow.in_turn = true;
  flow.credit = Quantum(flow);
  turns_[(first_turn_ + turn_count_) % kFlows] = static_cast<uint16_t>(index);
  ++turn_count_;
}

BatchTask* FairQueue::Pop() {
  while (size_ > 0) {
    const uint16_t index = turns_[first_turn_];
    Flow& flow = flows_[index];
    if (flow.size > 0 && flow.credit > 0) {
      BatchTask* task = flow.first;
      flow.credit -= task->cost;
      Unlink(&flow, task);
      return task;
    }
    // Its turn is over.
    first_turn_ = (first_turn_ + 1) % kFlows;
    if (flow.size > 0) {
      flow.credit += Quantum(flow);
      turns_[(first_turn_ + turn_count_ - 1) % kFlows] = index;
    } else {
      flow.in_turn = false;
      --turn_count_;
    }
  }
  return nullptr;
}

void FairQueue::Remove(BatchTask* task) {
  Unlink(&flows_[task->flow % kFlows], task);
}

BatchTask* FairQueue::RemoveNewestOfLargest() {
  if (size_ == 0) return nullptr;
  Flow* largest = &*std::max_element(
      flows_.begin(), flows_.end(), [](const Flow& a, const Flow& b) {
        // Of those without tasks, the shares are zero.
        return a.size * std::max<size_t>(b.share, 1) <
               b.size * std::max<size_t>(a.share, 1);
      });
  BatchTask* task = largest->last;
  Unlink(largest, task);
  return task;
}

Clock::time_point FairQueue::OldestArrival() const {
  Clock::time_point oldest = Clock::time_point::max();
  for (size_t i = 0; i < turn_count_; ++i) {
    const Flow& flow = flows_[turns_[(first_turn_ + i) % kFlows]];
    if (flow.size > 0) oldest = std::min(oldest, flow.first->arrival);
  }
  return oldest;
}

void FairQueue::Unlink(Flow* flow, BatchTask* task) {
  BatchTask* const next = task->next_;
  BatchTask* const previous = task->previous_;
  (previous != nullptr ? previous->next_ : flow->first) = next;
  (next != nullptr ? next->previous_ : flow->last) = previous;
  task->next_ = task->previous_ = nullptr;
  task->queued_ = false;
  --size_;
  if (--flow->size == 0) SetShare(flow, 0);
}

void FairQueue::SetShare(Flow* flow, size_t share) {
  shares_ += share - flow->share;
  flow->share = share;
}

}  // namespace vit
