#include "server/limits/memory_budget.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>

#include "tests/server/limits/fake_root.h"

namespace vit {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kGiB = 1 << 30;
// What a process opens besides connections; see memory_budget.cc.
constexpr size_t kOwnDescriptors = 40;

// Of a small model with the default options.
MemoryBudgetInput SmallModel() {
  return {.granted = 8 * kGiB,
          .descriptors = 1024,
          .image_bytes = 28 * 28,
          .explanation_bytes = 6 * 4 * 17 * 17 * 4,
          .max_images_per_call = 256,
          .max_queue_size = 1024,
          .max_explanations = 4};
}

// 224 x 224 pixels in colour, 197 tokens, 12 layers of 6 heads.
MemoryBudgetInput LargeModel() {
  MemoryBudgetInput input = SmallModel();
  input.image_bytes = 224 * 224 * 3;
  input.explanation_bytes = int64_t{12} * 6 * 197 * 197 * 4;
  return input;
}

int64_t SumOf(const MemoryBudget& budget) {
  int64_t sum = 0;
  for (const auto& item : budget.items) {
    sum += static_cast<int64_t>(item.count) * item.bytes_each;
  }
  return sum;
}

TEST(MemoryBudgetTest, ASmallModelTakesNoMoreThanTheUsualBudget) {
  const MemoryBudget budget = MakeMemoryBudget(SmallModel());
  EXPECT_EQ(budget.bytes, 160 * kMiB);
  EXPECT_LE(budget.total(), budget.bytes);
  EXPECT_GT(budget.total(), budget.bytes / 2);
  EXPECT_EQ(budget.max_message_bytes, 256 * (784 + 16) + 1024);
  EXPECT_GE(budget.max_connections, 256);
  EXPECT_GE(budget.max_reading, 128);
  EXPECT_GE(budget.max_calls, 2048);
  EXPECT_GE(budget.max_streams, 64);
}

TEST(MemoryBudgetTest, ASmallContainerGetsHalfOfItsMemory) {
  MemoryBudgetInput input = SmallModel();
  input.granted = 64 * kMiB;
  const MemoryBudget budget = MakeMemoryBudget(input);
  EXPECT_EQ(budget.bytes, 32 * kMiB);
  EXPECT_LE(budget.total(), budget.bytes);
}

// Whatever comes in: the sum is that of the items, stays within the budget, and
// nothing is left without a place.
TEST(MemoryBudgetTest, TheSumStaysWithinTheBudget) {
  for (MemoryBudgetInput input : {SmallModel(), LargeModel()}) {
    for (const int64_t granted : {16 * kMiB, kGiB, 1024 * kGiB}) {
      for (const int64_t wanted : {int64_t{0}, kMiB, kGiB, 100 * kGiB}) {
        for (const int64_t images : {1, 256, 1'000'000}) {
          input.granted = granted;
          input.wanted = wanted;
          input.max_images_per_call = images;
          const MemoryBudget budget = MakeMemoryBudget(input);
          EXPECT_EQ(budget.total(), SumOf(budget));
          EXPECT_LE(budget.total(), budget.bytes) << budget.ToText();
          EXPECT_GE(budget.bytes, wanted);
          EXPECT_LE(budget.grpc_quota(), budget.total());
          EXPECT_GE(budget.max_connections, 4);
          EXPECT_GE(budget.max_reading, 4);
          EXPECT_GE(budget.max_calls, 64);
          EXPECT_GE(budget.max_streams, 4);
        }
      }
    }
  }
}

// Images of 150,528 bytes, 256 in a call and 1,024 in the queue, need more
// than the usual budget, and the table says so.
TEST(MemoryBudgetTest, ForLargeImagesTheBudgetIsWhatTheChoicesNeed) {
  const MemoryBudget budget = MakeMemoryBudget(LargeModel());
  EXPECT_GT(budget.bytes, 160 * kMiB);
  EXPECT_LE(budget.total(), budget.bytes);
  EXPECT_GE(budget.total(),
            1024 * int64_t{150'528} + 4 * budget.max_message_bytes);
  MemoryBudgetInput input = LargeModel();
  input.max_images_per_call = 8;
  input.max_queue_size = 64;
  EXPECT_LT(MakeMemoryBudget(input).total(), budget.total() / 2);
}

TEST(MemoryBudgetTest, AllConnectionsTogetherFitIntoTheDescriptors) {
  for (const size_t descriptors : {64, 1024, 1'048'576}) {
    MemoryBudgetInput input = SmallModel();
    input.descriptors = descriptors;
    const MemoryBudget budget = MakeMemoryBudget(input);
    EXPECT_LE(kOwnDescriptors + budget.max_http_connections +
                  2 * budget.max_connections,
              descriptors);
    EXPECT_GE(budget.max_http_connections, 4);
    EXPECT_GE(budget.max_connections, 4);
  }
}

TEST(MemoryBudgetTest, MoreDescriptorsThanMemoryMakeNoMoreConnections) {
  MemoryBudgetInput input = SmallModel();
  input.descriptors = 1'048'576;
  const size_t many = MakeMemoryBudget(input).max_connections;
  input.descriptors = std::numeric_limits<size_t>::max();
  EXPECT_EQ(MakeMemoryBudget(input).max_connections, many);
  input.descriptors = 0;
  EXPECT_GE(MakeMemoryBudget(input).max_connections, 1);
}

TEST(MemoryBudgetTest, AnOperatorsWishIsKept) {
  MemoryBudgetInput input = SmallModel();
  const MemoryBudget usual = MakeMemoryBudget(input);
  input.wanted = kGiB;
  const MemoryBudget more = MakeMemoryBudget(input);
  EXPECT_EQ(more.bytes, kGiB);
  EXPECT_GT(more.total(), 2 * usual.total());
  EXPECT_GT(more.max_calls, 2 * usual.max_calls);
  input.wanted = 40 * kMiB;
  EXPECT_EQ(MakeMemoryBudget(input).bytes, 40 * kMiB);
  input.max_connections = 7;
  EXPECT_EQ(MakeMemoryBudget(input).max_connections, 7);
  // As far as there are descriptors.
  input.max_connections = 100'000;
  EXPECT_LE(2 * MakeMemoryBudget(input).max_connections, input.descriptors);
}

TEST(MemoryBudgetTest, AMessageIsNoLargerThanGrpcCanTake) {
  MemoryBudgetInput input = LargeModel();
  input.max_images_per_call = 1'000'000;
  EXPECT_EQ(MakeMemoryBudget(input).max_message_bytes,
            std::numeric_limits<int32_t>::max());
}

TEST(MemoryBudgetTest, TheTableHasEveryItemAndTheSum) {
  const MemoryBudget budget = MakeMemoryBudget(SmallModel());
  const std::string text = budget.ToText();
  for (const auto& item : budget.items) {
    EXPECT_THAT(text, HasSubstr(item.name));
    EXPECT_THAT(text, HasSubstr(item.comment));
  }
  EXPECT_THAT(text, HasSubstr("\nsum "));
  EXPECT_THAT(text, HasSubstr("MiB  of 160.0 MiB"));
}

using GrantedMemoryTest = testing::FakeRoot;

TEST_F(GrantedMemoryTest, TheLeastLimitOfAllGroupsAboveCounts) {
  const int64_t machine = GrantedMemory(root_);
  EXPECT_GT(machine, kMiB);
  Write("proc/self/cgroup", "0::/pod/container\n");
  Write("sys/fs/cgroup/pod/memory.max", "33554432\n");
  Write("sys/fs/cgroup/pod/container/memory.max", "max\n");
  EXPECT_EQ(GrantedMemory(root_), 32 * kMiB);
  Write("sys/fs/cgroup/pod/container/memory.max", "16777216\n");
  EXPECT_EQ(GrantedMemory(root_), 16 * kMiB);
}

TEST_F(GrantedMemoryTest, NoLimitOrAHugeOneMeansTheMachinesMemory) {
  const int64_t machine = GrantedMemory(root_);
  Write("proc/self/cgroup", "0::/job\n5:memory:/job\n");
  Write("sys/fs/cgroup/job/memory.max", "max\n");
  Write("sys/fs/cgroup/memory/job/memory.limit_in_bytes",
        "9223372036854771712\n");
  EXPECT_EQ(GrantedMemory(root_), machine);
}

TEST_F(GrantedMemoryTest, TheFirstVersionOfControlGroupsIsUnderstood) {
  Write("proc/self/cgroup", "5:memory:/job\n4:cpu,cpuacct:/job\n");
  Write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "8388608\n");
  EXPECT_EQ(GrantedMemory(root_), 8 * kMiB);
}

TEST(RaiseDescriptorLimitTest, TheSoftLimitBecomesTheHardOne) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit low = before;
  low.rlim_cur = std::min<rlim_t>(before.rlim_max, 256);
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  EXPECT_EQ(RaiseDescriptorLimit(), before.rlim_max);
  rlimit raised{};
  getrlimit(RLIMIT_NOFILE, &raised);
  EXPECT_EQ(raised.rlim_cur, before.rlim_max);
  setrlimit(RLIMIT_NOFILE, &before);
}

}  // namespace
}  // namespace vit
