#include "model/packed_weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <optional>
#include <span>

namespace vit {
namespace {

using onednn::DataType;
using onednn::Matrix;
using onednn::MemoryDesc;
using onednn::Op;

dnnl::memory Copied(const MemoryDesc& desc, const std::vector<float>& values) {
  dnnl::memory memory(desc, onednn::Cpu());
  std::memcpy(memory.get_data_handle(), values.data(),
              values.size() * sizeof(float));
  return memory;
}

// One row, as a matmul wants its bias.
dnnl::memory Row(const std::vector<float>& values) {
  return Copied(Matrix(DataType::f32, 1, static_cast<int64_t>(values.size())),
                values);
}

// A vector, as a matmul wants its scales.
dnnl::memory Vector(const std::vector<float>& values) {
  const onednn::Dims size = {static_cast<int64_t>(values.size())};
  return Copied(MemoryDesc(size, DataType::f32, onednn::Dims{1}), values);
}

// [outputs][inputs] to the order that `op` takes.
template <typename T>
dnnl::memory Ordered(std::vector<T> values, DataType type, const Op& op) {
  const onednn::Dims dims = op.weights.get_dims();  // inputs x outputs
  dnnl::memory plain(MemoryDesc(dims, type, onednn::Dims{1, dims[0]}),
                     onednn::Cpu(), values.data());
  dnnl::memory ordered(op.weights, onednn::Cpu());
  dnnl::stream stream(onednn::Cpu());
  dnnl::reorder(plain, ordered).execute(stream, plain, ordered);
  stream.wait();
  return ordered;
}

// `scale` may be empty, and so may `bias`.
template <typename Weight>
OwnLinear<Weight> PackOwn(const std::vector<Weight>& weight,
                          const std::vector<float>& scale,
                          const std::vector<float>& bias, size_t inputs) {
  constexpr size_t kStep = kernels::kStepOf<Weight>;
  const size_t outputs = weight.size() / inputs;
  const size_t padded = kernels::LinearBlocks(outputs) * kernels::kLinearBlock;
  OwnLinear<Weight> own = {
      .weight = AlignedVector<Weight>(
          kernels::OrderedWeightSize(inputs, outputs, kStep)),
      .scale = AlignedVector<float>(scale.begin(), scale.end()),
      .bias = AlignedVector<float>(bias.begin(), bias.end()),
      .view = {.inputs = inputs, .outputs = outputs}};
  own.scale.resize(padded);
  own.bias.resize(padded);
  kernels::OrderWeights(weight.data(), inputs, outputs, kStep,
                        own.weight.data());
  own.view.weight = own.weight.data();
  own.view.scale = own.scale.data();
  own.view.bias = own.bias.data();
  return own;
}

std::vector<kernels::BFloat16> InBFloat16(const std::vector<float>& values) {
  std::vector<kernels::BFloat16> rounded(values.size());
  std::ranges::transform(values, rounded.begin(), kernels::ToBFloat16);
  return rounded;
}

// oneDNN rounds them if the op takes bfloat16.
PackedLinear PackFloat(const LinearWeights& linear, const Op& op) {
  PackedLinear packed;
  packed.weight = Ordered(linear.weight, DataType::f32, op);
  if (!linear.bias.empty()) packed.bias = Row(linear.bias);
  return packed;
}

// With input = (byte - zero_point) * scale and W = q * s for each output,
//   W input + b = s scale (q byte) + (b - s scale zero_point sum(q)).
struct RoundedLinear {
  std::vector<int8_t> weight;
  std::vector<float> scales;
  std::vector<float> bias;
};

RoundedLinear Rounded(const LinearWeights& linear, const Quantization& input,
                      size_t inputs) {
  constexpr float kLargest = 127.0f;
  const size_t outputs = linear.weight.size() / inputs;
  std::vector<int8_t> rounded(linear.weight.size());
  std::vector<float> scales(outputs), bias = linear.bias;
  bias.resize(outputs);
  for (size_t o = 0; o < outputs; ++o) {
    const std::span row = std::span(linear.weight).subspan(o * inputs, inputs);
    float largest = 0;
    for (const float weight : row)
      largest = std::max(largest, std::abs(weight));
    const float scale = largest > 0 ? largest / kLargest : 1.0f;
    int sum = 0;
    for (size_t i = 0; i < inputs; ++i) {
      const auto q = static_cast<int8_t>(std::lround(row[i] / scale));
      rounded[o * inputs + i] = q;
      sum += q;
    }
    scales[o] = scale * input.scale;
    bias[o] -= scales[o] * static_cast<float>(input.zero_point * sum);
  }
  return {std::move(rounded), std::move(scales), std::move(bias)};
}

PackedLinear PackInt8(RoundedLinear linear, const Op& op) {
  PackedLinear packed;
  packed.weight = Ordered(std::move(linear.weight), DataType::s8, op);
  packed.scales = Vector(linear.scales);
  packed.bias = Row(linear.bias);
  return packed;
}

// Factor of the queries in the scores that kernels::SelfAttention takes: the
// softmax is of powers of two instead of e.
float QueryFactor(const VitConfig& config) {
  return std::numbers::log2e_v<float> /
         std::sqrt(static_cast<float>(config.head_width()));
}

// With the factor in W_q nothing is left to do for it while a batch runs.
LinearWeights ScaledQuery(const LinearWeights& qkv, const VitConfig& config) {
  LinearWeights scaled = qkv;
  const float scale = QueryFactor(config);
  const auto scale_first = [scale](std::vector<float>& values, size_t count) {
    for (size_t i = 0; i < std::min(count, values.size()); ++i) {
      values[i] *= scale;
    }
  };
  const auto width = static_cast<size_t>(config.width);
  scale_first(scaled.weight, width * width);
  scale_first(scaled.bias, width);
  return scaled;
}

// The projection to queries, keys and values in bytes of these steps.
PackedLinear PackToBytes(const LinearWeights& qkv, const Quantization& input,
                         const AttentionSteps& steps, size_t width) {
  constexpr float kZeroPoint = 128.0f;
  RoundedLinear rounded = Rounded(qkv, input, width);
  const float step[] = {steps.query, steps.key, steps.value};
  for (size_t o = 0; o < rounded.scales.size(); ++o) {
    rounded.scales[o] /= step[o / width];
    rounded.bias[o] = rounded.bias[o] / step[o / width] + kZeroPoint;
  }
  PackedLinear packed;
  packed.bytes = PackOwn(rounded.weight, rounded.scales, rounded.bias, width);
  return packed;
}

std::optional<ByteAttention> AttentionOf(
    const std::optional<AttentionSteps>& steps) {
  if (!steps) return std::nullopt;
  return ByteAttention{.score_step = steps->query * steps->key,
                       .value_step = steps->value};
}

// Outputs [first, end) of a layer.
LinearWeights Outputs(const LinearWeights& linear, size_t inputs, size_t first,
                      size_t end) {
  const auto part = [](const std::vector<float>& values, size_t from,
                       size_t to) {
    return values.empty()
               ? values
               : std::vector<float>(values.begin() + from, values.begin() + to);
  };
  return {part(linear.weight, first * inputs, end * inputs),
          part(linear.bias, first, end)};
}

// The steps of queries as scaled, keys and values, if our kernels can attend in
// bytes to what has such steps.
std::optional<AttentionSteps> StepsOf(const BlockQuantization& block,
                                      const VitConfig& config) {
  if (!block.attention || !kernels::HasByteAttention() ||
      config.head_width() % 16 != 0) {
    return std::nullopt;
  }
  AttentionSteps steps = *block.attention;
  // A step that is longer than it had to be costs no more than rounding does
  // that is finer than the kernel's.
  steps.query = std::max(steps.query * QueryFactor(config),
                         kernels::kLeastScoreStep / steps.key);
  if (steps.query * steps.key > kernels::kLargestScoreStep) return std::nullopt;
  return steps;
}

ToByte ToByteOf(const Quantization& q) {
  return {1.0f / q.scale, static_cast<float>(q.zero_point)};
}

PackedNorm PackNorm(const NormWeights& norm, const ToByte& to) {
  PackedNorm packed = {{norm.scale.begin(), norm.scale.end()},
                       {norm.shift.begin(), norm.shift.end()}};
  for (float& gain : packed.gain) gain *= to.inverse_scale;
  for (float& shift : packed.shift) {
    shift = shift * to.inverse_scale + to.zero_point;
  }
  return packed;
}

// The embedding as it takes bytes: (byte / 255 - mean) / std is folded into the
// weights, and what remains without pixels into the bias.
LinearWeights EmbedOfPixels(const VitWeights& weights) {
  const VitConfig& c = weights.config;
  LinearWeights embed = weights.patch_embed;
  const size_t inputs = c.patch_values();
  const size_t area = inputs / c.image.channels;
  for (size_t o = 0; o < static_cast<size_t>(c.width); ++o) {
    double constant = embed.bias[o];
    for (size_t i = 0; i < inputs; ++i) {
      float& weight = embed.weight[o * inputs + i];
      weight /= weights.normalization.std[i / area];
      constant -= double{weight} * weights.normalization.mean[i / area];
      weight /= 255.0f;
    }
    embed.bias[o] = static_cast<float>(constant);
  }
  return embed;
}

PackedClassAttention PackClassAttention(const BlockWeights& block,
                                        const VitConfig& c, bool own,
                                        const Op& query) {
  const auto width = static_cast<size_t>(c.width);
  const auto heads = static_cast<size_t>(c.heads);
  const auto head_width = static_cast<size_t>(c.head_width());
  const LinearWeights qkv = ScaledQuery(block.qkv, c);
  const LinearWeights q = Outputs(qkv, width, 0, width);
  const LinearWeights k = Outputs(qkv, width, width, 2 * width);
  const LinearWeights v = Outputs(qkv, width, 2 * width, 3 * width);
  PackedClassAttention packed;
  packed.norm = PackNorm(block.norm1, {});
  if (own) {
    packed.query.floats = PackOwn(q.weight, {}, q.bias, width);
  } else {
    packed.query = PackFloat(q, query);
  }
  const size_t columns = kernels::WholeAbsorbedSteps(width);
  const size_t outputs = kernels::WholeAbsorbedSteps(head_width);
  packed.key.resize(width * columns);
  packed.value.resize(heads * width * outputs);
  packed.bias.resize(heads * outputs);
  for (size_t o = 0; o < width; ++o) {
    const auto key = k.weight.begin() + static_cast<ptrdiff_t>(o * width);
    std::copy_n(key, width, &packed.key[o * columns]);
    const size_t head = o / head_width;
    const size_t column = o % head_width;
    for (size_t i = 0; i < width; ++i) {
      packed.value[(head * width + i) * outputs + column] =
          v.weight[o * width + i];
    }
    if (!v.bias.empty()) packed.bias[head * outputs + column] = v.bias[o];
  }
  packed.absorbed = {.key = packed.key.data(),
                     .value = packed.value.data(),
                     .bias = packed.bias.data(),
                     .heads = heads,
                     .head_width = head_width};
  return packed;
}

}  // namespace

bool ReadsClassTokenOnly(const VitConfig& config) {
  return config.class_token && config.pool == Pool::kToken;
}

Provider ProviderFor(const EngineOptions& options) {
  if (options.only_onednn) return Provider::kOneDnn;
  bool has = false;
  switch (options.precision) {
    case Precision::kF32:
      has = kernels::HasFloatLinear();
      break;
    case Precision::kBf16:
      has = kernels::HasBFloatLinear() && !onednn::HasBf16Tiles();
      break;
    case Precision::kInt8:
      has = kernels::HasByteLinear();
      break;
  }
  return has ? Provider::kOwn : Provider::kOneDnn;
}

DataType SourceType(Precision precision) {
  switch (precision) {
    case Precision::kBf16:
      return DataType::bf16;
    case Precision::kInt8:
      return DataType::u8;
    default:
      return DataType::f32;
  }
}

VitOps::VitOps(const VitConfig& c, Precision precision, Provider provider,
               int images, const VitOps* like) {
  head =
      onednn::MatMul(Matrix(DataType::f32, images, c.width),
                     like ? like->head.weights
                          : onednn::Packed(DataType::f32, c.width, c.classes),
                     Matrix(DataType::f32, images, c.classes), {.bias = true});
  if (provider == Provider::kOwn) return;
  const bool bytes = precision == Precision::kInt8;
  const DataType source = SourceType(precision);
  const DataType weight = bytes ? DataType::s8 : source;
  struct Shape {
    int64_t rows, inputs, outputs;
  };
  const auto linear = [&](const Op* order, const Shape& shape, bool bias,
                          bool add) {
    return onednn::MatMul(
        Matrix(source, shape.rows, shape.inputs),
        order != nullptr ? order->weights
                         : onednn::Packed(weight, shape.inputs, shape.outputs),
        Matrix(DataType::f32, shape.rows, shape.outputs),
        {.scales = bytes, .bias = bias || bytes, .add = add});
  };
  const int64_t rows = int64_t{images} * c.tokens();
  const int64_t width = c.width;
  // The embedding's bias is in the stream's start.
  embed = onednn::MatMul(Matrix(source, rows, c.patch_values()),
                         like ? like->embed.weights
                              : onednn::Packed(weight, c.patch_values(), width),
                         Matrix(DataType::f32, rows, width),
                         {.scales = bytes, .bias = bytes, .add = true});
  qkv = linear(like ? &like->qkv : nullptr, {rows, width, 3 * width},
               c.qkv_bias, false);
  proj = linear(like ? &like->proj : nullptr, {rows, width, width}, c.proj_bias,
                true);
  fc1 = linear(like ? &like->fc1 : nullptr, {rows, width, c.mlp_width},
               c.mlp_bias, false);
  fc2 = linear(like ? &like->fc2 : nullptr, {rows, c.mlp_width, width},
               c.mlp_bias, true);
  if (ReadsClassTokenOnly(c)) {
    last_query = onednn::MatMul(
        Matrix(DataType::f32, images, width, c.tokens() * width),
        like ? like->last_query.weights
             : onednn::Packed(DataType::f32, width, width),
        Matrix(DataType::f32, images, width), {.bias = c.qkv_bias});
    last_proj = linear(&proj, {images, width, width}, c.proj_bias, true);
    last_fc1 = linear(&fc1, {images, width, c.mlp_width}, c.mlp_bias, false);
    last_fc2 = linear(&fc2, {images, c.mlp_width, width}, c.mlp_bias, true);
  }
}

std::vector<const Op*> VitOps::all() const {
  std::vector<const Op*> ops;
  for (const Op* op : {&embed, &qkv, &proj, &fc1, &fc2, &last_query, &last_proj,
                       &last_fc1, &last_fc2, &head}) {
    if (op->primitive) ops.push_back(op);
  }
  return ops;
}

PackedWeights::PackedWeights(const VitWeights& weights, Precision precision,
                             Provider provider, const VitOps& ops)
    : start(weights.position_embedding),
      head_norm(PackNorm(weights.norm, {})),
      head(PackFloat(weights.head, ops.head)) {
  const VitConfig& c = weights.config;
  const bool bytes = precision == Precision::kInt8;
  const bool own = provider == Provider::kOwn;
  const auto pack = [=](const LinearWeights& linear, size_t inputs,
                        const Quantization& input, const Op& op) {
    PackedLinear packed;
    if (bytes) {
      RoundedLinear rounded = Rounded(linear, input, inputs);
      if (!own) return PackInt8(std::move(rounded), op);
      packed.bytes =
          PackOwn(rounded.weight, rounded.scales, rounded.bias, inputs);
    } else if (!own) {
      return PackFloat(linear, op);
    } else if (precision == Precision::kBf16) {
      packed.bfloats =
          PackOwn(InBFloat16(linear.weight), {}, linear.bias, inputs);
    } else {
      packed.floats = PackOwn(linear.weight, {}, linear.bias, inputs);
    }
    return packed;
  };
  const auto to_byte = [bytes](const Quantization& q) {
    return bytes ? ToByteOf(q) : ToByte();
  };

  const LinearWeights pixels = EmbedOfPixels(weights);
  const auto width = static_cast<size_t>(c.width);
  embed =
      pack({pixels.weight, {}}, c.patch_values(), Quantization{}, ops.embed);
  for (size_t i = 0; i < start.size(); ++i) {
    const bool is_class_token = c.class_token && i < width;
    start[i] +=
        is_class_token ? weights.class_token[i] : pixels.bias[i % width];
  }
  for (const BlockWeights& block : weights.blocks) {
    const BlockQuantization& q = block.quantization;
    const LinearWeights qkv = ScaledQuery(block.qkv, c);
    const auto steps = own && bytes ? StepsOf(q, c) : std::nullopt;
    blocks.push_back({.norm1 = PackNorm(block.norm1, to_byte(q.qkv)),
                      .qkv = steps ? PackToBytes(qkv, q.qkv, *steps, width)
                                   : pack(qkv, width, q.qkv, ops.qkv),
                      .attention = AttentionOf(steps),
                      .context = to_byte(q.proj),
                      .proj = pack(block.proj, width, q.proj, ops.proj),
                      .norm2 = PackNorm(block.norm2, to_byte(q.fc1)),
                      .fc1 = pack(block.fc1, width, q.fc1, ops.fc1),
                      .hidden = to_byte(q.fc2),
                      .fc2 = pack(block.fc2, c.mlp_width, q.fc2, ops.fc2)});
  }
  if (ReadsClassTokenOnly(c)) {
    last = PackClassAttention(weights.blocks.back(), c, own, ops.last_query);
  }
}

}  // namespace vit
