// Every kernel on every instruction set of this CPU, against the formulas in
// double precision.

#include "model/kernels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "model/aligned.h"
#include "model/reference.h"

namespace vit::kernels {
namespace {

std::vector<float> Noise(size_t count, unsigned seed, float scale = 1.0f) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, scale);
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

// A byte as a kernel makes it of a value.
int ToByte(double value, float inverse_scale, float zero_point) {
  return static_cast<int>(std::clamp(
      std::nearbyint(value * double{inverse_scale} + double{zero_point}), 0.0,
      255.0));
}

// A number as a kernel takes it, and its value.
template <typename T>
T Number(float value) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    return ToBFloat16(value);
  } else {
    return static_cast<T>(value);
  }
}
template <typename T>
double Value(T number) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    return ToFloat(number);
  } else {
    return number;
  }
}

// That rounding `expected`, which the kernel has to within `error`, gives this.
void ExpectRounded(BFloat16 found, double expected, double error) {
  // Half of the last of 8 digits.
  constexpr double kHalfDigit = 1.0 / (1 << 8);
  ASSERT_NEAR(Value(found), expected,
              (std::abs(expected) + error) * kHalfDigit + error);
}

// Runs what a test calls on one instruction set, and gives the choice back.
class KernelTest : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { UseTarget(GetParam()); }
  void TearDown() override { UseTarget(""); }
};

TEST_P(KernelTest, RunsOnTheInstructionSetThatWasChosen) {
  EXPECT_EQ(TargetName(), GetParam());
}

TEST_P(KernelTest, GeluIsWithinItsStatedError) {
  std::vector<float> x;
  for (float v = -40.0f; v <= 40.0f; v += 0.00437f) x.push_back(v);
  x.insert(x.end(), {-1e30f, 1e30f, 0.0f, -0.0f});
  std::vector<float> found(x.size());
  Gelu(x.data(), x.size(), found.data());
  for (size_t i = 0; i < x.size(); ++i) {
    const double bound =
        kGeluError + double{kGeluRelativeError} * std::abs(x[i]);
    ASSERT_NEAR(found[i], reference::Gelu(x[i]), bound) << "of " << x[i];
  }
}

TEST_P(KernelTest, GeluInPlaceLeavesWhatIsBehindTheEndAlone) {
  for (size_t count = 0; count < 70; ++count) {
    std::vector<float> x = Noise(count + 1, 1);
    const std::vector<float> before = x;
    Gelu(x.data(), count, x.data());
    EXPECT_EQ(x[count], before[count]);
    for (size_t i = 0; i < count; ++i) {
      ASSERT_NEAR(x[i], reference::Gelu(before[i]), 2 * kGeluError);
    }
  }
}

TEST(BFloat16Test, TheNearestIsTakenAndTheOneFartherFromZeroOfTwo) {
  EXPECT_EQ(ToFloat(ToBFloat16(1.0f)), 1.0f);
  EXPECT_EQ(ToFloat(ToBFloat16(-255.0f)), -255.0f);
  EXPECT_EQ(ToFloat(ToBFloat16(256.999f)), 256.0f);
  EXPECT_EQ(ToFloat(ToBFloat16(257.0f)), 258.0f);
  EXPECT_EQ(ToFloat(ToBFloat16(-257.0f)), -258.0f);
}

TEST_P(KernelTest, BFloat16sAreRoundedAsTheyAreOneByOne) {
  // Four vectors at a time on some instruction set, and with a rest.
  for (const size_t width : {16, 32, 64, 75}) {
    constexpr size_t kRows = 40;
    const std::vector<float> rows = Noise(kRows * width, 9);
    const std::vector<float> gain(width, 100.0f), shift = Noise(width, 8);
    const NormInput in = {.data = rows.data(),
                          .stride = width,
                          .rows = kRows,
                          .width = width,
                          .gain = gain.data(),
                          .shift = shift.data(),
                          .epsilon = 1e-5f};
    std::vector<float> floats(rows.size());
    std::vector<BFloat16> found(rows.size() + 1, BFloat16{7});
    LayerNorm(in, floats.data());
    LayerNorm(in, found.data());
    for (size_t i = 0; i < rows.size(); ++i) {
      ASSERT_EQ(found[i], ToBFloat16(floats[i])) << floats[i];
    }
    EXPECT_EQ(found[rows.size()], BFloat16{7});
  }
}

TEST_P(KernelTest, GeluInBFloat16IsWithinItsStatedError) {
  const std::vector<float> x = Noise(1003, 2, /*scale=*/2);
  std::vector<BFloat16> found(x.size() + 1, BFloat16{7});
  Gelu(x.data(), x.size(), found.data());
  for (size_t i = 0; i < x.size(); ++i) {
    ExpectRounded(found[i], reference::Gelu(x[i]), kGeluByteError);
  }
  EXPECT_EQ(found[x.size()], BFloat16{7});
}

TEST_P(KernelTest, GeluToBytesRoundsAndClamps) {
  const std::vector<float> x = Noise(1003, 2, /*scale=*/4);
  std::vector<uint8_t> found(x.size());
  // A step of 1/30 is 80 times as wide as the stated error.
  static_assert(kGeluByteError < 0.5f / 30.0f);
  constexpr float kInverse = 30.0f;
  constexpr float kZero = 9.0f;
  Gelu(x.data(), x.size(), kInverse, kZero, found.data());
  for (size_t i = 0; i < x.size(); ++i) {
    // Off by one where a value lies between two bytes.
    ASSERT_NEAR(found[i], ToByte(reference::Gelu(x[i]), kInverse, kZero), 1);
  }
  EXPECT_EQ(*std::max_element(found.begin(), found.end()), 255);
}

TEST_P(KernelTest, LayerNormIsTheFormula) {
  for (const size_t width : {1, 3, 16, 39, 64, 192}) {
    constexpr size_t kRows = 5;
    const size_t stride = width + 3;
    std::vector<float> rows = Noise(kRows * stride, 3, /*scale=*/2);
    const NormWeights weights{Noise(width, 4), Noise(width, 5)};
    const NormInput in = {.data = rows.data(),
                          .stride = stride,
                          .rows = kRows,
                          .width = width,
                          .gain = weights.scale.data(),
                          .shift = weights.shift.data(),
                          .epsilon = 1e-5f};
    std::vector<float> found(kRows * width);
    std::vector<uint8_t> bytes(found.size());
    LayerNorm(in, found.data());
    LayerNorm(in, bytes.data());
    std::vector<BFloat16> rounded(found.size());
    LayerNorm(in, rounded.data());
    reference::Matrix x(kRows, static_cast<int>(width));
    for (size_t i = 0; i < found.size(); ++i) {
      x.values[i] = rows[i / width * stride + i % width];
    }
    const reference::Matrix expected = reference::LayerNorm(x, weights, 1e-5);
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_NEAR(found[i], expected.values[i], 1e-4) << "width " << width;
      ASSERT_NEAR(bytes[i], ToByte(expected.values[i], 1, 0), 1);
      ExpectRounded(rounded[i], expected.values[i], 1e-4);
    }
  }
}

// The attention of one query as the papers state it, with keys and values.
std::vector<double> OneQuery(const std::vector<float>& query,
                             const std::vector<float>& x, size_t tokens,
                             size_t heads, size_t head_width,
                             const std::vector<float>& key,
                             const std::vector<float>& value,
                             const std::vector<float>& bias) {
  const size_t width = heads * head_width;
  const auto project = [&](const std::vector<float>& weight, size_t output,
                           size_t token) {
    double sum = 0;
    for (size_t i = 0; i < width; ++i) {
      sum += double{weight[output * width + i]} * x[token * width + i];
    }
    return sum;
  };
  std::vector<double> context(width);
  for (size_t h = 0; h < heads; ++h) {
    std::vector<double> weights(tokens);
    double total = 0;
    for (size_t t = 0; t < tokens; ++t) {
      double score = 0;
      for (size_t d = h * head_width; d < (h + 1) * head_width; ++d) {
        score += query[d] * project(key, d, t);
      }
      weights[t] = std::exp2(score);
      total += weights[t];
    }
    for (size_t d = h * head_width; d < (h + 1) * head_width; ++d) {
      context[d] = bias[d];
      for (size_t t = 0; t < tokens; ++t) {
        context[d] += weights[t] / total * project(value, d, t);
      }
    }
  }
  return context;
}

TEST_P(KernelTest, AbsorbedAttentionIsThatOfKeysAndValues) {
  for (const auto& [tokens, heads, head_width] :
       {std::tuple<size_t, size_t, size_t>{17, 4, 16},
        {1, 1, 1},
        {5, 3, 13},
        {50, 2, 24},
        {197, 3, 64}}) {
    const size_t width = heads * head_width;
    const size_t columns = WholeAbsorbedSteps(width);
    const size_t outputs = WholeAbsorbedSteps(head_width);
    const float scale = 1.0f / std::sqrt(static_cast<float>(width));
    const std::vector<float> query = Noise(width, 1);
    const std::vector<float> x = Noise(tokens * width + kAbsorbedStep, 2);
    const std::vector<float> key = Noise(width * width, 3, scale);
    const std::vector<float> value = Noise(width * width, 4, scale);
    const std::vector<float> bias = Noise(width, 5);
    AlignedVector<float> keys(width * columns);
    AlignedVector<float> values(heads * width * outputs);
    AlignedVector<float> biases(heads * outputs);
    for (size_t o = 0; o < width; ++o) {
      const size_t head = o / head_width;
      const size_t column = o % head_width;
      for (size_t i = 0; i < width; ++i) {
        keys[o * columns + i] = key[o * width + i];
        values[(head * width + i) * outputs + column] = value[o * width + i];
      }
      biases[head * outputs + column] = bias[o];
    }
    const AbsorbedInput in = {
        .query = query.data(), .data = x.data(), .tokens = tokens};
    const AbsorbedWeights by = {.key = keys.data(),
                                .value = values.data(),
                                .bias = biases.data(),
                                .heads = heads,
                                .head_width = head_width};
    constexpr float kInverse = 40.0f;
    constexpr float kZero = 128.0f;
    std::vector<float> scratch(AbsorbedScratch(tokens, width));
    std::vector<float> found(width + 1, -7.0f);
    std::vector<BFloat16> rounded(width + 1, BFloat16{7});
    std::vector<uint8_t> bytes(width + 1, 77);
    AbsorbedAttention(in, by, found.data(), scratch.data());
    AbsorbedAttention(in, by, rounded.data(), scratch.data());
    AbsorbedAttention(in, by, kInverse, kZero, bytes.data(), scratch.data());
    const std::vector<double> expected =
        OneQuery(query, x, tokens, heads, head_width, key, value, bias);
    for (size_t d = 0; d < width; ++d) {
      ASSERT_NEAR(found[d], expected[d], 1e-4) << tokens << " tokens";
      ASSERT_NEAR(bytes[d], ToByte(expected[d], kInverse, kZero), 1);
      ExpectRounded(rounded[d], expected[d], 1e-4);
    }
    EXPECT_EQ(found[width], -7.0f);
    EXPECT_EQ(rounded[width], BFloat16{7});
    EXPECT_EQ(bytes[width], 77);
  }
}

// A linear layer of noise, and what it makes of noise.
template <typename Weight>
class LinearCase {
 public:
  using Input =
      std::conditional_t<std::is_same_v<Weight, int8_t>, uint8_t, Weight>;
  static constexpr size_t kStep = kStepOf<Weight>;

  LinearCase(size_t rows, size_t inputs, size_t outputs)
      : rows_(rows), inputs_(inputs), outputs_(outputs) {
    std::mt19937 random(static_cast<unsigned>(rows + inputs + outputs));
    const auto fill = [&](auto& values, int least, int most, float scale) {
      std::uniform_int_distribution<int> number(least, most);
      using Entry = std::remove_reference_t<decltype(values[0])>;
      for (auto& value : values) {
        value = Number<Entry>(static_cast<float>(number(random)) * scale);
      }
    };
    const size_t padded = LinearBlocks(outputs) * kLinearBlock;
    weight_.resize(outputs * inputs);
    ordered_.resize(OrderedWeightSize(inputs, outputs, kStep));
    scale_.resize(padded);
    bias_.resize(padded);
    in_.resize(rows * stride() + kStep);
    if constexpr (sizeof(Weight) == 1) {
      fill(weight_, -127, 127, 1);
      fill(in_, 0, 255, 1);
      fill(scale_, 1, 100, 1e-6f);
    } else {
      fill(weight_, -100, 100, 0.002f);
      fill(in_, -100, 100, 0.01f);
      std::ranges::fill(scale_, 1.0f);
    }
    fill(bias_, -100, 100, 0.01f);
    OrderWeights(weight_.data(), inputs, outputs, kStep, ordered_.data());
  }

  size_t size() const { return rows_ * outputs_; }

  Rows<Input> in() const {
    return {.data = in_.data(), .stride = stride(), .rows = rows_};
  }
  OrderedLinear<Weight> by() const {
    return {.weight = ordered_.data(),
            .scale = scale_.data(),
            .bias = bias_.data(),
            .inputs = inputs_,
            .outputs = outputs_};
  }

  // The exact result at `index` of the output.
  double Expected(size_t index) const {
    const size_t o = index % outputs_;
    double sum = 0;
    for (size_t i = 0; i < inputs_; ++i) {
      sum += Value(in_[index / outputs_ * stride() + i]) *
             Value(weight_[o * inputs_ + i]);
    }
    return sum * double{scale_[o]} + double{bias_[o]};
  }

 private:
  size_t stride() const { return inputs_ + 1; }

  size_t rows_, inputs_, outputs_;
  std::vector<Weight> weight_;
  AlignedVector<Weight> ordered_;
  AlignedVector<float> scale_, bias_;
  std::vector<Input> in_;
};

template <typename Weight>
std::vector<LinearCase<Weight>> LinearCases() {
  std::vector<LinearCase<Weight>> cases;
  for (const size_t rows : {1, 2, 3, 4, 5, 6, 17}) {
    for (const size_t inputs : {1, 49, 64}) {
      for (const size_t outputs : {1, 16, 39, 64, 150}) {
        cases.emplace_back(rows, inputs, outputs);
      }
    }
  }
  return cases;
}

TEST_P(KernelTest, LinearInFloatsIsTheFormulaWithWhatFollows) {
  if (!HasFloatLinear()) GTEST_SKIP() << "not for this instruction set";
  for (const auto& c : LinearCases<float>()) {
    std::vector<float> plain(c.size()), sum(c.size(), 2.0f), gelu(c.size());
    Linear(c.in(), c.by(), plain.data());
    LinearAdd(c.in(), c.by(), sum.data());
    LinearGelu(c.in(), c.by(), gelu.data());
    for (size_t i = 0; i < c.size(); ++i) {
      const double expected = c.Expected(i);
      ASSERT_NEAR(plain[i], expected, 1e-5);
      ASSERT_NEAR(sum[i], expected + 2, 1e-5);
      ASSERT_NEAR(gelu[i], reference::Gelu(expected), 1e-5);
    }
  }
}

TEST_P(KernelTest, LinearInBFloat16IsTheFormulaWithWhatFollows) {
  if (!HasBFloatLinear()) GTEST_SKIP() << "not for this instruction set";
  for (const auto& c : LinearCases<BFloat16>()) {
    std::vector<float> plain(c.size()), sum(c.size(), 2.0f);
    std::vector<BFloat16> gelu(c.size());
    Linear(c.in(), c.by(), plain.data());
    LinearAdd(c.in(), c.by(), sum.data());
    LinearGelu(c.in(), c.by(), gelu.data());
    for (size_t i = 0; i < c.size(); ++i) {
      const double expected = c.Expected(i);
      ASSERT_NEAR(plain[i], expected, 1e-5);
      ASSERT_NEAR(sum[i], expected + 2, 1e-5);
      ExpectRounded(gelu[i], reference::Gelu(expected), kGeluByteError);
    }
  }
}

TEST_P(KernelTest, LinearInBytesIsTheFormulaWithWhatFollows) {
  if (!HasByteLinear()) GTEST_SKIP() << "not for this instruction set";
  constexpr float kInverse = 30.0f;
  constexpr float kZero = 9.0f;
  for (const auto& c : LinearCases<int8_t>()) {
    std::vector<float> plain(c.size()), sum(c.size(), 2.0f);
    std::vector<uint8_t> gelu(c.size()), bytes(c.size());
    Linear(c.in(), c.by(), plain.data());
    Linear(c.in(), c.by(), bytes.data());
    LinearAdd(c.in(), c.by(), sum.data());
    LinearGelu(c.in(), c.by(), kInverse, kZero, gelu.data());
    for (size_t i = 0; i < c.size(); ++i) {
      const double expected = c.Expected(i);
      const double tolerance = 1e-5 * (1 + std::abs(expected));
      ASSERT_NEAR(plain[i], expected, tolerance);
      ASSERT_NEAR(bytes[i], ToByte(expected, 1, 0), 1);
      ASSERT_NEAR(sum[i], expected + 2, tolerance);
      ASSERT_NEAR(gelu[i], ToByte(reference::Gelu(expected), kInverse, kZero),
                  1);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, KernelTest,
                         ::testing::ValuesIn(TargetNames()),
                         [](const auto& test) { return test.param; });

struct AttentionCase {
  size_t tokens, heads, head_width;
};

// All tokens' queries, keys and values, packed as the engine packs them.
AttentionInput InputOf(const AttentionCase& c, const std::vector<float>& qkv) {
  const size_t width = c.heads * c.head_width;
  return {.query = qkv.data(),
          .query_stride = 3 * width,
          .key = qkv.data() + width,
          .value = qkv.data() + 2 * width,
          .key_value_stride = 3 * width,
          .queries = c.tokens,
          .tokens = c.tokens,
          .heads = c.heads,
          .head_width = c.head_width};
}

// Softmax(Q K^T) V of one head, with powers of two, in double precision.
struct ExpectedHead {
  std::vector<std::vector<double>> weights;  // [tokens][tokens]
  std::vector<std::vector<double>> context;  // [tokens][head_width]
};

ExpectedHead Expect(const AttentionCase& c, const std::vector<float>& qkv,
                    size_t head) {
  const size_t width = c.heads * c.head_width;
  const auto at = [&](size_t token, size_t part, size_t column) {
    return double{
        qkv[token * 3 * width + part * width + head * c.head_width + column]};
  };
  ExpectedHead expected;
  for (size_t i = 0; i < c.tokens; ++i) {
    std::vector<double> row(c.tokens);
    double sum = 0;
    for (size_t j = 0; j < c.tokens; ++j) {
      double score = 0;
      for (size_t k = 0; k < c.head_width; ++k)
        score += at(i, 0, k) * at(j, 1, k);
      sum += row[j] = std::exp2(score);
    }
    std::vector<double> context(c.head_width);
    for (size_t j = 0; j < c.tokens; ++j) {
      row[j] /= sum;
      for (size_t k = 0; k < c.head_width; ++k)
        context[k] += row[j] * at(j, 2, k);
    }
    expected.weights.push_back(row);
    expected.context.push_back(context);
  }
  return expected;
}

void ExpectFormula(const AttentionCase& c) {
  const size_t width = c.heads * c.head_width;
  const std::vector<float> qkv = Noise(c.tokens * 3 * width, 6, 0.7f);
  const AttentionInput in = InputOf(c, qkv);
  std::vector<float> scratch(AttentionScratch(c.tokens, c.head_width));
  std::vector<float> context(c.tokens * width);
  std::vector<float> weights(c.heads * c.tokens * c.tokens);
  SelfAttention(in, context.data(), width, weights.data(), scratch.data());
  constexpr float kInverse = 40.0f;
  constexpr float kZero = 120.0f;
  std::vector<uint8_t> bytes(context.size());
  SelfAttention(in, kInverse, kZero, bytes.data(), width, nullptr,
                scratch.data());
  std::vector<BFloat16> rounded(context.size());
  SelfAttention(in, rounded.data(), width, nullptr, scratch.data());

  for (size_t h = 0; h < c.heads; ++h) {
    const ExpectedHead expected = Expect(c, qkv, h);
    for (size_t i = 0; i < c.tokens; ++i) {
      for (size_t j = 0; j < c.tokens; ++j) {
        ASSERT_NEAR(weights[(h * c.tokens + i) * c.tokens + j],
                    expected.weights[i][j], 1e-5);
      }
      for (size_t k = 0; k < c.head_width; ++k) {
        const size_t place = i * width + h * c.head_width + k;
        ASSERT_NEAR(context[place], expected.context[i][k], 2e-5);
        ASSERT_NEAR(bytes[place],
                    ToByte(expected.context[i][k], kInverse, kZero), 1);
        ExpectRounded(rounded[place], expected.context[i][k], 2e-5);
      }
    }
  }
}

class AttentionKernelTest
    : public ::testing::TestWithParam<std::tuple<std::string, AttentionCase>> {
 protected:
  void SetUp() override { UseTarget(std::get<0>(GetParam())); }
  void TearDown() override { UseTarget(""); }
};

TEST_P(AttentionKernelTest, IsTheFormulaInFloatsRoundedAndInBytes) {
  ExpectFormula(std::get<1>(GetParam()));
}

// The last layer asks for one token, from a matrix of its own.
TEST_P(AttentionKernelTest, OneQueryIsAnsweredAsAmongAll) {
  const AttentionCase& c = std::get<1>(GetParam());
  const size_t width = c.heads * c.head_width;
  const std::vector<float> qkv = Noise(c.tokens * 3 * width, 7, 0.7f);
  AttentionInput in = InputOf(c, qkv);
  std::vector<float> scratch(AttentionScratch(c.tokens, c.head_width));
  std::vector<float> all(c.tokens * width);
  SelfAttention(in, all.data(), width, nullptr, scratch.data());
  const size_t last = c.tokens - 1;
  const std::vector<float> query(qkv.begin() + last * 3 * width,
                                 qkv.begin() + last * 3 * width + width);
  in.query = query.data();
  in.query_stride = width;
  in.queries = 1;
  std::vector<float> one(width);
  SelfAttention(in, one.data(), width, nullptr, scratch.data());
  for (size_t k = 0; k < width; ++k) {
    ASSERT_NEAR(one[k], all[last * width + k], 1e-6);
  }
}

TEST_P(KernelTest, AttentionIsTheFormulaForAnyNumberOfTokens) {
  for (size_t tokens = 1; tokens <= 70; ++tokens) {
    for (const size_t head_width : {1, 6, 16, 20}) {
      SCOPED_TRACE(testing::Message() << tokens << " tokens of " << head_width);
      ASSERT_NO_FATAL_FAILURE(ExpectFormula({tokens, 5, head_width}));
    }
  }
}

// Bytes of queries, keys and values, packed as the engine packs them.
std::vector<uint8_t> ByteNoise(size_t count, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(128.0f, 45.0f);
  std::vector<uint8_t> values(count);
  for (uint8_t& value : values) {
    value = static_cast<uint8_t>(std::clamp(normal(random), 0.0f, 255.0f));
  }
  return values;
}

// In bytes, of the values that the bytes mean.
void ExpectByteFormula(const AttentionCase& c, float score_step) {
  constexpr float kValueStep = 0.02f;
  constexpr float kInverse = 40.0f;
  constexpr float kZero = 120.0f;
  const size_t width = c.heads * c.head_width;
  const std::vector<uint8_t> bytes = ByteNoise(c.tokens * 3 * width, 8);
  std::vector<float> qkv(bytes.size());
  for (size_t i = 0; i < qkv.size(); ++i) {
    const float steps[] = {score_step, 1.0f, kValueStep};
    qkv[i] = (static_cast<float>(bytes[i]) - 128.0f) * steps[i / width % 3];
  }
  ByteAttentionInput in = {.query = bytes.data(),
                           .query_stride = 3 * width,
                           .key = bytes.data() + width,
                           .value = bytes.data() + 2 * width,
                           .key_value_stride = 3 * width,
                           .queries = c.tokens,
                           .tokens = c.tokens,
                           .heads = c.heads,
                           .head_width = c.head_width,
                           .score_step = score_step,
                           .value_step = kValueStep};
  std::vector<float> scratch(AttentionScratch(c.tokens, c.head_width));
  std::vector<float> weights(c.heads * c.tokens * c.tokens);
  std::vector<uint8_t> context(c.tokens * width);
  SelfAttention(in, kInverse, kZero, context.data(), width, weights.data(),
                scratch.data());
  for (size_t h = 0; h < c.heads; ++h) {
    const ExpectedHead expected = Expect(c, qkv, h);
    for (size_t i = 0; i < c.tokens; ++i) {
      const float* row = &weights[(h * c.tokens + i) * c.tokens];
      const std::vector<double>& exact = expected.weights[i];
      const double largest = *std::ranges::max_element(exact);
      double sum = 0, off = 0;
      for (size_t j = 0; j < c.tokens; ++j) {
        // Twice the error of a numerator: the sum of them has as much.
        const double bound =
            2 * (double{kPowerError} * exact[j] + 0.5 / 255 * largest);
        ASSERT_NEAR(row[j], exact[j], bound);
        off += std::abs(row[j] - exact[j]);
        sum += row[j];
      }
      ASSERT_NEAR(sum, 1, 1e-5);
      for (size_t k = 0; k < c.head_width; ++k) {
        const double largest_value = 128 * double{kValueStep * kInverse};
        ASSERT_NEAR(
            context[i * width + h * c.head_width + k],
            std::clamp(expected.context[i][k] * kInverse + kZero, 0.0, 255.0),
            0.51 + off * largest_value);
      }
    }
  }

  // Alone, a query is answered exactly as among all.
  const size_t last = c.tokens - 1;
  in.query += last * in.query_stride;
  in.queries = 1;
  std::vector<uint8_t> one(width);
  std::vector<float> row(c.heads * c.tokens);
  SelfAttention(in, kInverse, kZero, one.data(), width, row.data(),
                scratch.data());
  for (size_t k = 0; k < width; ++k) {
    ASSERT_EQ(one[k], context[last * width + k]);
  }
  for (size_t h = 0; h < c.heads; ++h) {
    for (size_t j = 0; j < c.tokens; ++j) {
      ASSERT_EQ(row[h * c.tokens + j],
                weights[(h * c.tokens + last) * c.tokens + j]);
    }
  }
}

TEST_P(KernelTest, AttentionInBytesIsTheFormulaForAnyNumberOfTokens) {
  if (!HasByteAttention()) GTEST_SKIP() << "not for this instruction set";
  for (size_t tokens = 1; tokens <= 70; ++tokens) {
    for (const size_t head_width : {16, 48}) {
      for (const float step : {kLeastScoreStep, 1e-3f, 5e-3f}) {
        SCOPED_TRACE(testing::Message()
                     << tokens << " tokens of " << head_width << ", " << step);
        ASSERT_NO_FATAL_FAILURE(
            ExpectByteFormula({tokens, 3, head_width}, step));
      }
    }
  }
}

// Scores that would overflow without the largest taken off; a row that attends
// to one token only.
TEST_P(AttentionKernelTest, LargeScoresNeitherOverflowNorVanish) {
  const AttentionCase& c = std::get<1>(GetParam());
  const size_t width = c.heads * c.head_width;
  std::vector<float> qkv(c.tokens * 3 * width, 1.0f);
  for (size_t j = 0; j < c.tokens; ++j) {
    for (size_t k = 0; k < width; ++k) {
      float* row = &qkv[j * 3 * width];
      row[k] = 100.0f;
      row[width + k] = j == c.tokens / 2 ? 30.0f : -30.0f;
      row[2 * width + k] = static_cast<float>(j);
    }
  }
  const AttentionInput in = InputOf(c, qkv);
  std::vector<float> scratch(AttentionScratch(c.tokens, c.head_width));
  std::vector<float> context(c.tokens * width);
  SelfAttention(in, context.data(), width, nullptr, scratch.data());
  const size_t attended = c.tokens / 2;
  for (const float value : context) {
    ASSERT_NEAR(value, static_cast<float>(attended), 1e-3);
  }
}

constexpr AttentionCase kAttentionCases[] = {
    {1, 1, 1},   {3, 2, 5},   {16, 4, 16}, {17, 4, 16},
    {17, 3, 13}, {33, 2, 32}, {50, 4, 16}, {197, 3, 64},
};

INSTANTIATE_TEST_SUITE_P(
    Targets, AttentionKernelTest,
    ::testing::Combine(::testing::ValuesIn(TargetNames()),
                       ::testing::ValuesIn(kAttentionCases)),
    [](const auto& test) {
      const AttentionCase& c = std::get<1>(test.param);
      return std::get<0>(test.param) + "_" + std::to_string(c.tokens) + "_" +
             std::to_string(c.heads) + "_" + std::to_string(c.head_width);
    });

}  // namespace
}  // namespace vit::kernels
