#include "server/batching/fair_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <deque>
#include <vector>

namespace vit {
namespace {

using ::testing::ElementsAre;

class IdleTask : public BatchTask {
 public:
  void Done(const absl::Status&, const Prediction*,
            const TaskTiming&) override {}
};

class FairQueueTest : public ::testing::Test {
 protected:
  BatchTask* Push(uint64_t flow, int cost = 1, int share = 1) {
    IdleTask& task = tasks_.emplace_back();
    task.flow = flow;
    task.cost = cost;
    task.share = share;
    queue_.Push(&task);
    return &task;
  }

  // The flows of the next tasks.
  std::vector<uint64_t> Pop(int count) {
    std::vector<uint64_t> flows;
    for (int i = 0; i < count; ++i) flows.push_back(queue_.Pop()->flow);
    return flows;
  }

  std::deque<IdleTask> tasks_;
  FairQueue queue_{100};
};

TEST_F(FairQueueTest, TasksOfOneFlowLeaveInTheirOrder) {
  std::vector<BatchTask*> pushed;
  for (int i = 0; i < 10; ++i) pushed.push_back(Push(1));
  for (BatchTask* task : pushed) EXPECT_EQ(queue_.Pop(), task);
  EXPECT_EQ(queue_.Pop(), nullptr);
  EXPECT_EQ(queue_.size(), 0);
}

TEST_F(FairQueueTest, FlowsTakeTurnsOfAQuantum) {
  for (int i = 0; i < 12; ++i) Push(1);
  for (int i = 0; i < 5; ++i) Push(2);
  EXPECT_EQ(queue_.shares(), 2);
  EXPECT_THAT(Pop(17),
              ElementsAre(1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 1, 1, 2, 1, 1, 1, 1));
}

TEST_F(FairQueueTest, ATaskThatCostsMoreUsesMoreOfItsFlowsTurn) {
  for (int i = 0; i < 3; ++i) Push(1, /*cost=*/FairQueue::kQuantum);
  for (int i = 0; i < 5; ++i) Push(2);
  EXPECT_THAT(Pop(8), ElementsAre(1, 2, 2, 2, 2, 1, 2, 1));
}

TEST_F(FairQueueTest, AFlowWithALargerShareTakesLongerTurns) {
  for (int i = 0; i < 10; ++i) Push(1, /*cost=*/1, /*share=*/2);
  for (int i = 0; i < 6; ++i) Push(2);
  EXPECT_EQ(queue_.shares(), 3);
  EXPECT_THAT(Pop(16),
              ElementsAre(1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 1, 1, 2, 2));
  EXPECT_EQ(queue_.shares(), 0);
}

TEST_F(FairQueueTest, TheShareOfAFlowIsThatOfItsNewestTask) {
  Push(1);
  Push(1, /*cost=*/1, /*share=*/5);
  EXPECT_EQ(queue_.shares(), 5);
  Push(1, /*cost=*/1, /*share=*/2);
  EXPECT_EQ(queue_.shares(), 2);
  Push(2, /*cost=*/1, /*share=*/3);
  EXPECT_EQ(queue_.SharesBeside(1), 3);
  EXPECT_EQ(queue_.SharesBeside(2), 2);
  EXPECT_EQ(queue_.SharesBeside(3), 5);
}

TEST_F(FairQueueTest, AnyTaskCanBeTakenOut) {
  BatchTask* first = Push(1);
  BatchTask* middle = Push(1);
  BatchTask* last = Push(1);
  queue_.Remove(middle);
  EXPECT_EQ(queue_.SizeOf(1), 2);
  EXPECT_EQ(queue_.Pop(), first);
  queue_.Remove(last);
  EXPECT_EQ(queue_.Pop(), nullptr);
  EXPECT_EQ(queue_.shares(), 0);
  BatchTask* next = Push(1);
  EXPECT_EQ(queue_.Pop(), next);
}

TEST_F(FairQueueTest, TheLargestFlowGivesItsNewest) {
  Push(1);
  Push(2);
  BatchTask* newest = Push(2);
  Push(3);
  EXPECT_EQ(queue_.RemoveNewestOfLargest(), newest);
  EXPECT_EQ(queue_.size(), 3);
}

TEST_F(FairQueueTest, TheLargestFlowIsTheOneWithMostForItsShare) {
  for (int i = 0; i < 5; ++i) Push(1, /*cost=*/1, /*share=*/3);
  Push(2);
  BatchTask* newest = Push(2);
  EXPECT_EQ(queue_.RemoveNewestOfLargest(), newest);
}

TEST_F(FairQueueTest, TheOldestArrivalIsThatOfTheTaskThatWaitsLongest) {
  EXPECT_EQ(queue_.OldestArrival(), Clock::time_point::max());
  const Clock::time_point start{};
  Push(1)->arrival = start + std::chrono::seconds(5);
  Push(2)->arrival = start + std::chrono::seconds(3);
  EXPECT_EQ(queue_.OldestArrival(), start + std::chrono::seconds(3));
}

TEST_F(FairQueueTest, EveryFlowHasItsTurnHoweverManyThereAre) {
  for (uint64_t flow = 0; flow < FairQueue::kFlows; ++flow) Push(flow);
  EXPECT_EQ(queue_.shares(), FairQueue::kFlows);
  for (uint64_t flow = 0; flow < FairQueue::kFlows; ++flow) {
    EXPECT_EQ(queue_.Pop()->flow, flow);
  }
  EXPECT_EQ(queue_.Pop(), nullptr);
}

}  // namespace
}  // namespace vit
