#include "model/reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "tests/model/model_builder.h"

namespace vit::reference {
namespace {

// Three tokens of width d_k whose first value is 0, 1, 2 and whose others are
// zero, and weights that look at the first value alone:
//
//   q_i = i,  k_j = j sqrt(d_k) ln 2,  v_j = 21 j
//   q_i k_j / sqrt(d_k) = i j ln 2, whose exponential is 2^(i j)
//
//   weights = | 1 1  1 | / 3      weights V = | (21 + 42) / 3       = 21 |
//             | 1 2  4 | / 7                  | (2 21 + 4 42) / 7   = 30 |
//             | 1 4 16 | / 21                 | (4 21 + 16 42) / 21 = 36 |
//
// and the projection 2 x + 1 makes 43, 61, 73 of that.
void ExpectTheExampleWorkedByHand(int d_k) {
  Matrix x(3, d_k);
  for (int i = 0; i < 3; ++i) x.at(i, 0) = i;
  LinearWeights qkv;
  qkv.weight.resize(static_cast<size_t>(3) * d_k * d_k);
  const auto first_of = [d_k](int part) {
    return static_cast<size_t>(part) * d_k * d_k;
  };
  qkv.weight[first_of(0)] = 1;
  qkv.weight[first_of(1)] =
      static_cast<float>(std::sqrt(d_k) * std::numbers::ln2);
  qkv.weight[first_of(2)] = 21;
  LinearWeights proj;
  proj.weight.resize(static_cast<size_t>(d_k) * d_k);
  proj.weight[0] = 2;
  proj.bias.resize(d_k);
  proj.bias[0] = 1;

  const SelfAttentionResult result = SelfAttention(x, qkv, proj, /*heads=*/1);

  ASSERT_EQ(result.weights.size(), 1);
  const double expected[3][3] = {{1.0 / 3, 1.0 / 3, 1.0 / 3},
                                 {1.0 / 7, 2.0 / 7, 4.0 / 7},
                                 {1.0 / 21, 4.0 / 21, 16.0 / 21}};
  for (int i = 0; i < 3; ++i) {
    for (int j = 0; j < 3; ++j) {
      EXPECT_NEAR(result.weights[0].at(i, j), expected[i][j], 1e-6);
    }
  }
  EXPECT_NEAR(result.output.at(0, 0), 43, 1e-4);
  EXPECT_NEAR(result.output.at(1, 0), 61, 1e-4);
  EXPECT_NEAR(result.output.at(2, 0), 73, 1e-4);
}

TEST(SelfAttentionTest, ThreeTokensAsWorkedByHand) {
  ExpectTheExampleWorkedByHand(/*d_k=*/1);
}

TEST(SelfAttentionTest, ScoresAreDividedByTheRootOfTheHeadWidth) {
  ExpectTheExampleWorkedByHand(/*d_k=*/4);
}

TEST(SelfAttentionTest, HeadsAttendIndependently) {
  // Two heads of width 1: the first sees equal scores, the second the
  // example's.
  Matrix x(3, 2);
  for (int i = 0; i < 3; ++i) x.at(i, 1) = i;
  LinearWeights qkv;
  qkv.weight.resize(12);
  qkv.weight[1 * 2 + 1] = 1;                                      // q of head 1
  qkv.weight[3 * 2 + 1] = static_cast<float>(std::numbers::ln2);  // k of head 1
  LinearWeights proj;
  proj.weight.resize(4);
  const SelfAttentionResult result = SelfAttention(x, qkv, proj, /*heads=*/2);
  ASSERT_EQ(result.weights.size(), 2);
  EXPECT_NEAR(result.weights[0].at(2, 0), 1.0 / 3, 1e-6);
  EXPECT_NEAR(result.weights[1].at(2, 0), 1.0 / 21, 1e-6);
}

TEST(ReferenceTest, SoftmaxOfHugeScoresIsFinite) {
  Matrix x(1, 2);
  x.at(0, 0) = 10000;
  x.at(0, 1) = 10000 - std::numbers::ln2;
  const Matrix y = Softmax(x);
  EXPECT_NEAR(y.at(0, 0), 2.0 / 3, 1e-9);
  EXPECT_NEAR(y.at(0, 1), 1.0 / 3, 1e-9);
}

TEST(ReferenceTest, LayerNormHasZeroMeanAndUnitVarianceBeforeGainAndBias) {
  Matrix x(1, 4);
  for (int j = 0; j < 4; ++j) x.at(0, j) = 10 + j;  // mean 11.5, variance 1.25
  const Matrix y = LayerNorm(x, {{2, 2, 2, 2}, {1, 1, 1, 1}}, 0.0);
  for (int j = 0; j < 4; ++j) {
    EXPECT_NEAR(y.at(0, j), 2 * (j - 1.5) / std::sqrt(1.25) + 1, 1e-9);
  }
}

TEST(ReferenceTest, GeluIsTheExactOne) {
  EXPECT_EQ(Gelu(0), 0);
  EXPECT_NEAR(Gelu(1), 0.8413447460685429, 1e-12);     // Phi(1)
  EXPECT_NEAR(Gelu(-1), -0.15865525393145707, 1e-12);  // -Phi(-1)
}

}  // namespace
}  // namespace vit::reference
