// Where an image's time goes: each kernel of an encoder layer by itself, for
// the trained model's shape and as many images at once as the engine computes.
// Cases are named Kernel/PRECISION/NAME; their counter `image` is the time of
// one image in one layer, of several repetitions also the least. Those of
// linear layers are there where the CPU has our own kernels for them.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "model/aligned.h"
#include "model/kernels.h"
#include "tests/benchmarks/least.h"

namespace vit::kernels {
namespace {

constexpr size_t kImages = 16;
constexpr size_t kTokens = 17;
constexpr size_t kRows = kImages * kTokens;
constexpr size_t kHeads = 4;
constexpr size_t kHeadWidth = 16;
constexpr size_t kWidth = kHeads * kHeadWidth;
constexpr size_t kMlpWidth = 4 * kWidth;
// How an activation becomes a byte.
constexpr float kInverseScale = 30;
constexpr float kZeroPoint = 128;

template <typename T>
AlignedVector<T> Noise(size_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  // Bytes are read in whole steps, also behind the last row.
  AlignedVector<T> values(count + kByteStep);
  for (T& value : values) {
    if constexpr (std::is_same_v<T, float>) {
      value = normal(random);
    } else if constexpr (std::is_same_v<T, BFloat16>) {
      value = ToBFloat16(normal(random));
    } else {
      value = static_cast<T>(random());
    }
  }
  return values;
}

// A linear layer's weights; in bytes if its input is.
template <typename Input>
class LinearWeights {
 public:
  using Weight =
      std::conditional_t<std::is_same_v<Input, uint8_t>, int8_t, Input>;
  static constexpr size_t kStep = kStepOf<Weight>;

  LinearWeights(size_t inputs, size_t outputs)
      : inputs_(inputs),
        outputs_(outputs),
        weight_(OrderedWeightSize(inputs, outputs, kStep)),
        scale_(LinearBlocks(outputs) * kLinearBlock, 1e-4f),
        bias_(scale_.size(), 0.1f) {
    const AlignedVector<Weight> noise = Noise<Weight>(inputs * outputs);
    OrderWeights(noise.data(), inputs, outputs, kStep, weight_.data());
  }

  OrderedLinear<Weight> view() const {
    return {.weight = weight_.data(),
            .scale = scale_.data(),
            .bias = bias_.data(),
            .inputs = inputs_,
            .outputs = outputs_};
  }

 private:
  size_t inputs_;
  size_t outputs_;
  AlignedVector<Weight> weight_;
  AlignedVector<float> scale_;
  AlignedVector<float> bias_;
};

// What a case runs for all images, with memory of its own.
using Kernel = std::function<void()>;

// Both of a layer.
template <typename Output>
Kernel LayerNorms() {
  return [data = Noise<float>(kRows * kWidth), gain = Noise<float>(kWidth),
          shift = Noise<float>(kWidth),
          out = AlignedVector<Output>(kRows * kWidth)]() mutable {
    for (int i = 0; i < 2; ++i) {
      LayerNorm({.data = data.data(),
                 .stride = kWidth,
                 .rows = kRows,
                 .width = kWidth,
                 .gain = gain.data(),
                 .shift = shift.data(),
                 .epsilon = 1e-6f},
                out.data());
    }
  };
}

template <typename In, typename Output>
Kernel Attention(In in) {
  using Value = std::remove_const_t<std::remove_pointer_t<decltype(in.query)>>;
  in.query_stride = in.key_value_stride = 3 * kWidth;
  in.queries = in.tokens = kTokens;
  in.heads = kHeads;
  in.head_width = kHeadWidth;
  return [in, qkv = Noise<Value>(kRows * 3 * kWidth),
          context = AlignedVector<Output>(kRows * kWidth),
          scratch = AlignedVector<float>(
              AttentionScratch(kTokens, kHeadWidth))]() mutable {
    for (size_t image = 0; image < kImages; ++image) {
      in.query = &qkv[image * kTokens * 3 * kWidth];
      in.key = in.query + kWidth;
      in.value = in.query + 2 * kWidth;
      Output* out = &context[image * kTokens * kWidth];
      if constexpr (sizeof(Output) == 1) {
        SelfAttention(in, kInverseScale, kZeroPoint, out, kWidth, nullptr,
                      scratch.data());
      } else {
        SelfAttention(in, out, kWidth, nullptr, scratch.data());
      }
    }
  };
}

enum class After { kNothing, kBytes, kResidual, kGelu };

template <typename Input>
Kernel LinearLayer(size_t inputs, size_t outputs, After after) {
  return [=, by = LinearWeights<Input>(inputs, outputs),
          data = Noise<Input>(kRows * inputs),
          out = AlignedVector<float>(kRows * outputs),
          activated = AlignedVector<Input>(kRows * outputs)]() mutable {
    const Rows<Input> in = {
        .data = data.data(), .stride = inputs, .rows = kRows};
    if (after == After::kNothing) {
      Linear(in, by.view(), out.data());
    } else if (after == After::kBytes) {
      if constexpr (sizeof(Input) == 1) {
        Linear(in, by.view(), activated.data());
      }
    } else if (after == After::kResidual) {
      LinearAdd(in, by.view(), out.data());
    } else if constexpr (sizeof(Input) == 1) {
      LinearGelu(in, by.view(), kInverseScale, kZeroPoint, activated.data());
    } else {
      LinearGelu(in, by.view(), activated.data());
    }
  };
}

void AddCase(const std::string& precision, const std::string& name,
             const std::function<Kernel()>& make) {
  benchmark::RegisterBenchmark(
      absl::StrCat("Kernel/", precision, "/", name).c_str(),
      [make](benchmark::State& state) {
        const Kernel run = make();
        for (auto _ : state) {
          run();
          benchmark::ClobberMemory();
        }
        using benchmark::Counter;
        state.counters["image"] =
            Counter(kImages, Counter::Flags(Counter::kIsIterationInvariantRate |
                                            Counter::kInvert));
      })
      ->Unit(benchmark::kMicrosecond)
      ->ComputeStatistics("min", Least);
}

// Attention as a layer computes it whose matmuls take Input.
template <typename Input>
Kernel LayerAttention() {
  if constexpr (sizeof(Input) == 1) {
    if (HasByteAttention()) {
      // Steps of about the size of the trained model's.
      return Attention<ByteAttentionInput, uint8_t>(
          {.score_step = 6e-4f, .value_step = 0.02f});
    }
  }
  return Attention<AttentionInput, Input>({});
}

template <typename Input>
void AddLayer(const std::string& precision, bool has_linear) {
  const bool in_bytes = sizeof(Input) == 1 && HasByteAttention();
  const auto add_linear = [&](const std::string& name, size_t inputs,
                              size_t outputs, After after) {
    if (!has_linear) return;
    AddCase(precision, name,
            [=] { return LinearLayer<Input>(inputs, outputs, after); });
  };
  AddCase(precision, "LayerNorms", LayerNorms<Input>);
  add_linear("QkvProjection", kWidth, 3 * kWidth,
             in_bytes ? After::kBytes : After::kNothing);
  AddCase(precision, "Attention", LayerAttention<Input>);
  add_linear("OutputProjection", kWidth, kWidth, After::kResidual);
  add_linear("MlpUpGelu", kWidth, kMlpWidth, After::kGelu);
  add_linear("MlpDown", kMlpWidth, kWidth, After::kResidual);
}

const bool kAdded = [] {
  AddLayer<float>("f32", HasFloatLinear());
  AddLayer<BFloat16>("bf16", HasBFloatLinear());
  AddLayer<uint8_t>("int8", HasByteLinear());
  return true;
}();

}  // namespace
}  // namespace vit::kernels
