#include "model/side_by_side.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <stdexcept>
#include <vector>

namespace vit {
namespace {

TEST(SideBySideTest, TasksRunAtTheSameTime) {
  // Each task waits for all others: one after another they would never end.
  std::latch all(4);
  const absl::Status status = RunSideBySide(4, [&all](int) {
    all.arrive_and_wait();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST(SideBySideTest, EveryNumberIsRunOnce) {
  std::vector<std::atomic<int>> runs(5);
  ASSERT_TRUE(RunSideBySide(5, [&runs](int i) {
                ++runs[i];
                return absl::OkStatus();
              }).ok());
  for (const std::atomic<int>& count : runs) EXPECT_EQ(count, 1);
}

TEST(SideBySideTest, NothingToDoIsDone) {
  EXPECT_TRUE(
      RunSideBySide(0, [](int) { return absl::InternalError("run"); }).ok());
}

TEST(SideBySideTest, TheErrorOfTheLowestNumberIsReturnedWhenAllHaveEnded) {
  std::atomic<int> ended = 0;
  const absl::Status status = RunSideBySide(4, [&ended](int i) {
    ++ended;
    if (i == 0) return absl::OkStatus();
    return absl::UnavailableError(std::to_string(i));
  });
  EXPECT_EQ(status, absl::UnavailableError("1"));
  EXPECT_EQ(ended, 4);
}

TEST(SideBySideTest, AnExceptionIsAnErrorAndEndsNoProcess) {
  const absl::Status status = RunSideBySide(2, [](int i) -> absl::Status {
    if (i == 1) throw std::runtime_error("no memory");
    return absl::OkStatus();
  });
  EXPECT_EQ(status, absl::InternalError("exception: no memory"));
  EXPECT_EQ(RunSideBySide(1, [](int) -> absl::Status { throw 7; }).code(),
            absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace vit
