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
using InputOf =
    std::conditional_t<std::is_same_v<Weight, int8_t>, uint8_t, Weight>;

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
  const DataType source = SourceType(precision);
  const int64_t rows = int64_t{images} * c.tokens();
  const auto input = [&](MatmulInput& matrix, int64_t height, int64_t columns) {
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
    if (by.bfloats) return Own(from, by.bfloats->view, to, add);
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
  const bool in_place = precision == Precision::kF32;
  void* activated = in_place ? hidden : a.activated.data();
  const auto gelu = [&](const Op& op, const dnnl::memory* from,
                        const PackedBlock& block) -> LinearStep {
    const ToByte to = block.hidden;
    if (block.fc1.bytes) {
      return [in = RowsOf<uint8_t>(from), by = block.fc1.bytes->view, to,
              out = a.activated.bytes.data()](const dnnl::stream&) {
        kernels::LinearGelu(in, by, to.inverse_scale, to.zero_point, out);
        return absl::OkStatus();
      };
    }
    if (block.fc1.bfloats) {
      return
          [in = RowsOf<kernels::BFloat16>(from), by = block.fc1.bfloats->view,
           out = a.activated.bfloats.data()](const dnnl::stream&) {
            kernels::LinearGelu(in, by, out);
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
    return [=, after = &a.activated](const dnnl::stream& stream) {
      absl::Status status = up(stream);
      if (!status.ok()) return status;
      if (in_place) {
        kernels::Gelu(hidden, count, hidden);
      } else {
        after->Gelu(hidden, count, to);
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
