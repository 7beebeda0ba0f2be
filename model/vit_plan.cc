#include "model/vit_plan.h"

#include <algorithm>
#include <type_traits>

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

template <typename Input>
kernels::Rows<Input> RowsOf(const dnnl::memory* memory) {
  const onednn::MemoryDesc desc = memory->get_desc();
  return {.data = static_cast<const Input*>(memory->get_data_handle()),
          .stride = static_cast<size_t>(desc.get_strides()[0]),
          .rows = static_cast<size_t>(desc.get_dims()[0])};
}

// What a weight is multiplied with.
template <typename Weight>
using InputOf = std::conditional_t<sizeof(Weight) == 1, uint8_t, float>;

// The result goes to `target`, or with `add` onto what is there: a residual.
template <typename Weight>
LinearStep Own(const dnnl::memory* source,
               const kernels::OrderedLinear<Weight>& by,
               const dnnl::memory* target, bool add) {
  auto* out = static_cast<float*>(target->get_data_handle());
  return [in = RowsOf<InputOf<Weight>>(source), by, out,
          add](const dnnl::stream&) {
    if (add) {
      kernels::LinearAdd(in, by, out);
    } else {
      kernels::Linear(in, by, out);
    }
    return absl::OkStatus();
  };
}

}  // namespace

void Activations::Input::Resize(Precision precision, size_t size) {
  // Kernels read whole steps of a row: behind the last one, too.
  if (precision == Precision::kInt8) {
    bytes.resize(size + kernels::kByteStep);
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
  if (precision == Precision::kInt8) {
    activated.Resize(precision, hidden.size());
    qkv_bytes.resize(qkv.size());
  }
  pooled.resize(count * c.width);
  query.resize(count * c.width);
  logits.resize(count * c.classes);
  attention_scratch.resize(
      std::max(kernels::AttentionScratch(c.tokens(), c.head_width()),
               kernels::AbsorbedScratch(c.tokens(), c.width)));
}

const dnnl::memory* VitPlan::Bind(const onednn::MemoryDesc& desc, void* data) {
  return &memory_.emplace_back(desc, onednn::Cpu(), data);
}

LinearStep VitPlan::OneDnn(const Op& op, const dnnl::memory* source,
                           const PackedLinear& by, const dnnl::memory* target,
                           Activations& a) {
  const dnnl::memory* scratch =
      op.scratchpad.get_size() == 0
          ? nullptr
          : Bind(op.scratchpad, a.matmul_scratch.data());
  const Step step(op,
                  {{DNNL_ARG_SRC, source},
                   {DNNL_ARG_WEIGHTS, &by.weight},
                   {DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS, OrNull(by.scales)},
                   {DNNL_ARG_BIAS, OrNull(by.bias)},
                   {DNNL_ARG_DST, target},
                   {DNNL_ARG_SCRATCHPAD, scratch}});
  return [step](const dnnl::stream& stream) { return step.Run(stream); };
}

VitPlan::VitPlan(const VitConfig& c, Precision precision, int images,
                 const VitOps& ops, const PackedWeights& weights,
                 Activations& a) {
  const DataType source =
      precision == Precision::kInt8 ? DataType::u8 : DataType::f32;
  const int64_t rows = int64_t{images} * c.tokens();
  const auto input = [&](Activations::Input& matrix, int64_t height,
                         int64_t columns) {
    return Bind(Matrix(source, height, columns), matrix.data());
  };
  const auto floats = [&](AlignedVector<float>& matrix, int64_t height,
                          int64_t columns) {
    return Bind(Matrix(DataType::f32, height, columns), matrix.data());
  };
  // oneDNN's op knows by itself whether it adds.
  const auto apply = [&](const Op& op, const dnnl::memory* from,
                         const PackedLinear& by, const dnnl::memory* to,
                         bool add) {
    if (by.bytes) return Own(from, by.bytes->view, to, add);
    if (by.floats) return Own(from, by.floats->view, to, add);
    return OneDnn(op, from, by, to, a);
  };
  const auto linear = [&](const Op& op, const dnnl::memory* from,
                          const PackedLinear& by, const dnnl::memory* to) {
    return apply(op, from, by, to, /*add=*/false);
  };
  const auto residual = [&](const Op& op, const dnnl::memory* from,
                            const PackedLinear& by, const dnnl::memory* to) {
    return apply(op, from, by, to, /*add=*/true);
  };
  uint8_t* qkv_bytes = a.qkv_bytes.data();
  const auto projection = [&](const dnnl::memory* from,
                              const PackedBlock& block,
                              const dnnl::memory* to) -> LinearStep {
    if (!block.attention) return linear(ops.qkv, from, block.qkv, to);
    return [in = RowsOf<uint8_t>(from), by = block.qkv.bytes->view,
            qkv_bytes](const dnnl::stream&) {
      kernels::Linear(in, by, qkv_bytes);
      return absl::OkStatus();
    };
  };
  // In f32, GELU is done where the hidden values are.
  float* hidden = a.hidden.data();
  uint8_t* bytes = a.activated.bytes.data();
  void* activated = precision == Precision::kInt8 ? a.activated.data()
                                                  : static_cast<void*>(hidden);
  const auto gelu = [&](const Op& op, const dnnl::memory* from,
                        const PackedBlock& block) -> LinearStep {
    const ToByte to = block.hidden;
    if (block.fc1.bytes) {
      return [in = RowsOf<uint8_t>(from), by = block.fc1.bytes->view, to,
              bytes](const dnnl::stream&) {
        kernels::LinearGelu(in, by, to.inverse_scale, to.zero_point, bytes);
        return absl::OkStatus();
      };
    }
    if (block.fc1.floats) {
      return [in = RowsOf<float>(from), by = block.fc1.floats->view,
              hidden](const dnnl::stream&) {
        kernels::LinearGelu(in, by, hidden);
        return absl::OkStatus();
      };
    }
    const int64_t height = from->get_desc().get_dims()[0];
    const size_t count = height * c.mlp_width;
    LinearStep up =
        OneDnn(op, from, block.fc1, floats(a.hidden, height, c.mlp_width), a);
    return [=](const dnnl::stream& stream) {
      absl::Status status = up(stream);
      if (!status.ok()) return status;
      if (precision == Precision::kInt8) {
        kernels::Gelu(hidden, count, to.inverse_scale, to.zero_point, bytes);
      } else {
        kernels::Gelu(hidden, count, hidden);
      }
      return status;
    };
  };

  const dnnl::memory* stream = floats(a.stream, rows, c.width);
  const dnnl::memory* normed = input(a.normed, rows, c.width);
  const dnnl::memory* qkv = floats(a.qkv, rows, 3 * c.width);
  const dnnl::memory* context = input(a.context, rows, c.width);
  const dnnl::memory* after_gelu =
      Bind(Matrix(source, rows, c.mlp_width), activated);
  embed = residual(ops.embed, input(a.patches, rows, c.patch_values()),
                   weights.embed, stream);
  for (const PackedBlock& block : weights.blocks) {
    layers.push_back({.qkv = projection(normed, block, qkv),
                      .proj = residual(ops.proj, context, block.proj, stream),
                      .fc1 = gelu(ops.fc1, normed, block),
                      .fc2 = residual(ops.fc2, after_gelu, block.fc2, stream)});
  }
  const dnnl::memory* pooled = floats(a.pooled, images, c.width);
  if (ReadsClassTokenOnly(c)) {
    const PackedBlock& block = weights.blocks.back();
    const dnnl::memory* class_tokens = Bind(
        Matrix(DataType::f32, images, c.width, int64_t{c.tokens()} * c.width),
        a.qkv.data());
    last = {
        .query = linear(ops.last_query, class_tokens, weights.last->query,
                        floats(a.query, images, c.width)),
        .proj = residual(ops.last_proj, input(a.context, images, c.width),
                         block.proj, pooled),
        .fc1 = gelu(ops.last_fc1, input(a.normed, images, c.width), block),
        .fc2 = residual(ops.last_fc2,
                        Bind(Matrix(source, images, c.mlp_width), activated),
                        block.fc2, pooled)};
  }
  head = linear(ops.head, pooled, weights.head,
                floats(a.logits, images, c.classes));
}

size_t ScratchpadBytes(const VitOps& ops) {
  size_t bytes = 0;
  for (const Op* op : ops.all()) {
    bytes = std::max(bytes, op->scratchpad.get_size());
  }
  return bytes;
}

}  // namespace vit
