#include "model/vit_plan.h"

#include <algorithm>

#include "model/kernels.h"

namespace vit {
namespace {

using onednn::DataType;
using onednn::Matrix;
using onednn::Op;
using onednn::Step;

const dnnl::memory* OrNull(const dnnl::memory& memory) {
  return memory.get(/*allow_empty=*/true) != nullptr ? &memory : nullptr;
}

}  // namespace

void Activations::Input::Resize(Precision precision, size_t size) {
  if (precision == Precision::kInt8) {
    bytes.resize(size);
  } else {
    floats.resize(size);
  }
}

void* Activations::Input::data() {
  return bytes.empty() ? static_cast<void*>(floats.data()) : bytes.data();
}

Activations::Activations(const VitConfig& c, Precision precision, int images) {
  const auto count = static_cast<size_t>(images);
  const size_t rows = count * c.tokens();
  patches.Resize(precision, rows * c.patch_values());
  stream.resize(rows * c.width);
  normed.Resize(precision, rows * c.width);
  qkv.resize(rows * 3 * c.width);
  context.Resize(precision, rows * c.width);
  hidden.resize(rows * c.mlp_width);
  if (precision == Precision::kInt8) activated.bytes.resize(hidden.size());
  pooled.resize(count * c.width);
  query.resize(count * c.width);
  logits.resize(count * c.classes);
  attention_scratch.resize(
      kernels::AttentionScratch(c.tokens(), c.head_width()));
}

const dnnl::memory* VitPlan::Bind(const onednn::MemoryDesc& desc, void* data) {
  return &memory_.emplace_back(desc, onednn::Cpu(), data);
}

Step VitPlan::Linear(const Op& op, const dnnl::memory* source,
                     const PackedLinear& by, const dnnl::memory* target,
                     Activations& a) {
  const dnnl::memory* scratch =
      op.scratchpad.get_size() == 0
          ? nullptr
          : Bind(op.scratchpad, a.matmul_scratch.data());
  return {op,
          {{DNNL_ARG_SRC, source},
           {DNNL_ARG_WEIGHTS, &by.weight},
           {DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS, OrNull(by.scales)},
           {DNNL_ARG_BIAS, OrNull(by.bias)},
           {DNNL_ARG_DST, target},
           {DNNL_ARG_SCRATCHPAD, scratch}}};
}

VitPlan::VitPlan(const VitConfig& c, Precision precision, int images,
                 const VitOps& ops, const PackedWeights& weights,
                 Activations& a) {
  const DataType source =
      precision == Precision::kInt8 ? DataType::u8 : DataType::f32;
  const int64_t rows = int64_t{images} * c.tokens();
  const auto input = [&](Activations::Input& matrix, int64_t height,
                         int64_t columns, int64_t stride = 0) {
    return Bind(Matrix(source, height, columns, stride), matrix.data());
  };
  const auto floats = [&](std::vector<float>& matrix, int64_t height,
                          int64_t columns) {
    return Bind(Matrix(DataType::f32, height, columns), matrix.data());
  };
  // In f32, GELU is done where the hidden values are.
  void* activated = precision == Precision::kInt8
                        ? a.activated.data()
                        : static_cast<void*>(a.hidden.data());
  const auto linear = [&](const Op& op, const dnnl::memory* from,
                          const PackedLinear& by, const dnnl::memory* to) {
    return Linear(op, from, by, to, a);
  };

  const dnnl::memory* stream = floats(a.stream, rows, c.width);
  const dnnl::memory* normed = input(a.normed, rows, c.width);
  const dnnl::memory* qkv = floats(a.qkv, rows, 3 * c.width);
  const dnnl::memory* context = input(a.context, rows, c.width);
  const dnnl::memory* hidden = floats(a.hidden, rows, c.mlp_width);
  const dnnl::memory* after_gelu =
      Bind(Matrix(source, rows, c.mlp_width), activated);
  embed.emplace(linear(ops.embed, input(a.patches, rows, c.patch_values()),
                       weights.embed, stream));
  for (const PackedBlock& block : weights.blocks) {
    layers.push_back({.qkv = linear(ops.qkv, normed, block.qkv, qkv),
                      .proj = linear(ops.proj, context, block.proj, stream),
                      .fc1 = linear(ops.fc1, normed, block.fc1, hidden),
                      .fc2 = linear(ops.fc2, after_gelu, block.fc2, stream)});
  }
  const dnnl::memory* pooled = floats(a.pooled, images, c.width);
  if (ReadsClassTokenOnly(c)) {
    const PackedBlock& block = weights.blocks.back();
    const dnnl::memory* class_tokens =
        input(a.normed, images, c.width, int64_t{c.tokens()} * c.width);
    last = {
        .key_value = linear(ops.last_key_value, normed, weights.last_key_value,
                            floats(a.qkv, rows, 2 * c.width)),
        .query = linear(ops.last_query, class_tokens, weights.last_query,
                        floats(a.query, images, c.width)),
        .proj = linear(ops.last_proj, input(a.context, images, c.width),
                       block.proj, pooled),
        .fc1 = linear(ops.last_fc1, input(a.normed, images, c.width), block.fc1,
                      floats(a.hidden, images, c.mlp_width)),
        .fc2 = linear(ops.last_fc2,
                      Bind(Matrix(source, images, c.mlp_width), activated),
                      block.fc2, pooled)};
  }
  head.emplace(linear(ops.head, pooled, weights.head,
                      floats(a.logits, images, c.classes)));
}

size_t ScratchpadBytes(const VitOps& ops) {
  size_t bytes = 0;
  for (const Op* op : ops.all()) {
    bytes = std::max(bytes, op->scratchpad.get_size());
  }
  return bytes;
}

}  // namespace vit
