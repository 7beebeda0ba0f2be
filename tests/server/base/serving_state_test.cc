#include "server/base/serving_state.h"

#include <gtest/gtest.h>

namespace vit {
namespace {

using Phase = ServingState::Phase;

TEST(ServingStateTest, OnlyAServerThatServesIsReady) {
  ServingState state;
  EXPECT_FALSE(state.ready());
  EXPECT_EQ(state.description(), "starting");
  state.Advance(Phase::kServing);
  EXPECT_TRUE(state.ready());
  EXPECT_EQ(state.description(), "serving");
  state.Advance(Phase::kLameDuck);
  EXPECT_FALSE(state.ready());
  EXPECT_EQ(state.description(), "shutting down: lame duck");
  state.Advance(Phase::kDraining);
  EXPECT_FALSE(state.ready());
  EXPECT_EQ(state.description(), "shutting down");
  state.Advance(Phase::kStopped);
  EXPECT_EQ(state.description(), "stopped");
}

TEST(ServingStateTest, ItNeverMovesBack) {
  ServingState state;
  state.Advance(Phase::kDraining);
  state.Advance(Phase::kServing);
  EXPECT_EQ(state.phase(), Phase::kDraining);
  EXPECT_FALSE(state.ready());
}

TEST(ServingStateTest, AStalledServerIsNotReadyUntilItRecovers) {
  ServingState state;
  state.Advance(Phase::kServing);
  state.SetStalled(true);
  EXPECT_FALSE(state.ready());
  EXPECT_EQ(state.description(), "stalled");
  EXPECT_EQ(state.phase(), Phase::kServing);
  state.SetStalled(false);
  EXPECT_TRUE(state.ready());
}

TEST(ServingStateTest, ListenersLearnOfChangesAndOfNothingElse) {
  ServingState state;
  int told = 0;
  bool ready = false;
  state.AddListener([&] {
    ++told;
    ready = state.ready();  // it may ask
  });
  state.Advance(Phase::kServing);
  EXPECT_EQ(told, 1);
  EXPECT_TRUE(ready);
  state.Advance(Phase::kServing);
  state.SetStalled(false);
  EXPECT_EQ(told, 1);
  state.SetStalled(true);
  EXPECT_EQ(told, 2);
  EXPECT_FALSE(ready);
  state.Advance(Phase::kStarting);
  EXPECT_EQ(told, 2);
}

TEST(ServingStateTest, AListenerThatWasRemovedIsNotTold) {
  ServingState state;
  int kept = 0;
  int removed = 0;
  state.AddListener([&] { ++kept; });
  state.RemoveListener(state.AddListener([&] { ++removed; }));
  state.Advance(Phase::kServing);
  EXPECT_EQ(kept, 1);
  EXPECT_EQ(removed, 0);
}

}  // namespace
}  // namespace vit
