#include "model/rollout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace vit {
namespace {

using ::testing::FloatNear;
using ::testing::Pointwise;

TEST(RolloutTest, OneLayerIsTheHeadsMeanMixedHalfWithTheIdentity) {
  // Two heads of 2 x 2, whose mean is [[0.5, 0.5], [0.25, 0.75]].
  const Attention attention = {.layers = 1,
                               .heads = 2,
                               .tokens = 2,
                               .weights = {1, 0, 0.5f, 0.5f, /**/ 0, 1, 0, 1}};
  const std::vector<float> expected = {0.75f, 0.25f, 0.125f, 0.875f};
  EXPECT_THAT(AttentionRollout(attention),
              Pointwise(FloatNear(1e-6f), expected));
}

TEST(RolloutTest, LaterLayersMultiplyFromTheLeft) {
  // Layer 1 sends token 0 to token 1; layer 2 leaves every token where it is
  // for token 0 and sends token 1 to token 0.
  const Attention attention = {.layers = 2,
                               .heads = 1,
                               .tokens = 2,
                               .weights = {0, 1, 0, 1, /**/ 1, 0, 1, 0}};
  // A1' = [[.5, .5], [0, 1]], A2' = [[1, 0], [.5, .5]]; A2' A1' is:
  const std::vector<float> expected = {0.5f, 0.5f, 0.25f, 0.75f};
  EXPECT_THAT(AttentionRollout(attention),
              Pointwise(FloatNear(1e-6f), expected));
}

TEST(RolloutTest, RowsSumToOne) {
  Attention attention = {.layers = 12, .heads = 3, .tokens = 17, .weights = {}};
  for (int row = 0; row < 12 * 3 * 17; ++row) {
    for (int j = 0; j < 17; ++j) {
      attention.weights.push_back(static_cast<float>((row + j) % 17) / 136.0f);
    }
  }
  const std::vector<float> rollout = AttentionRollout(attention);
  ASSERT_EQ(rollout.size(), 17 * 17);
  for (int i = 0; i < 17; ++i) {
    const auto row = rollout.begin() + i * 17;
    EXPECT_NEAR(std::accumulate(row, row + 17, 0.0f), 1, 1e-5);
  }
}

}  // namespace
}  // namespace vit
