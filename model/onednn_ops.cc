#include "model/onednn_ops.h"

#include <omp.h>

#include "absl/strings/str_cat.h"

namespace vit::onednn {
namespace {

using dnnl::memory;

dnnl::primitive_attr UserScratchpad() {
  dnnl::primitive_attr attributes;
  // The library's own would be shared between threads, or allocated a call.
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

const char* IsaName(dnnl::cpu_isa isa) {
  switch (isa) {
    case dnnl::cpu_isa::sse41:
      return "SSE4.1";
    case dnnl::cpu_isa::avx:
      return "AVX";
    case dnnl::cpu_isa::avx2:
      return "AVX2";
    case dnnl::cpu_isa::avx2_vnni:
      return "AVX2 with VNNI";
    case dnnl::cpu_isa::avx2_vnni_2:
      return "AVX2 with VNNI, BF16 and FP16 conversion";
    case dnnl::cpu_isa::avx512_core:
      return "AVX-512";
    case dnnl::cpu_isa::avx512_core_vnni:
      return "AVX-512 with VNNI";
    case dnnl::cpu_isa::avx512_core_bf16:
      return "AVX-512 with VNNI and BF16";
    case dnnl::cpu_isa::avx512_core_fp16:
      return "AVX-512 with VNNI, BF16 and FP16";
    case dnnl::cpu_isa::avx512_core_amx:
      return "AVX-512 with VNNI, BF16, FP16 and AMX";
    case dnnl::cpu_isa::avx512_core_amx_fp16:
      return "AVX-512 with VNNI, BF16, FP16 and AMX, FP16 also in AMX";
    default:
      return "an instruction set that is newer than this program";
  }
}

// Whether oneDNN's kernels use all of this instruction set here: a set's bits
// are among those of each that it is part of.
bool Includes(dnnl::cpu_isa isa) {
  const auto bits = static_cast<unsigned>(isa);
  return (static_cast<unsigned>(dnnl::get_effective_cpu_isa()) & bits) == bits;
}

}  // namespace

const dnnl::engine& Cpu() {
  static const dnnl::engine kEngine(dnnl::engine::kind::cpu, 0);
  return kEngine;
}

void UseOneThread() { omp_set_num_threads(1); }

std::string Description() {
  const dnnl_version_t* version = dnnl_version();
  return absl::StrCat("oneDNN ", version->major, ".", version->minor, ".",
                      version->patch, ", ",
                      IsaName(dnnl::get_effective_cpu_isa()));
}

bool HasInt8Products() {
  return Includes(dnnl::cpu_isa::avx2_vnni) ||
         Includes(dnnl::cpu_isa::avx512_core_vnni);
}

bool HasBf16Products() { return Includes(dnnl::cpu_isa::avx512_core_bf16); }

bool HasBf16Tiles() { return Includes(dnnl::cpu_isa::avx512_core_amx); }

MemoryDesc Matrix(DataType type, int64_t rows, int64_t columns,
                  int64_t stride) {
  return {{rows, columns}, type, Dims{stride > 0 ? stride : columns, 1}};
}

MemoryDesc Packed(DataType type, int64_t inputs, int64_t outputs) {
  return {{inputs, outputs}, type, memory::format_tag::any};
}

absl::Status Guarded(const std::string& what,
                     const std::function<void()>& make) {
  try {
    make();
  } catch (const dnnl::error& error) {
    return absl::InternalError(
        absl::StrCat(what, ": oneDNN: ", error.what(), " (status ",
                     static_cast<int>(error.status), ")"));
  }
  return absl::OkStatus();
}

Op MatMul(const MemoryDesc& src, const MemoryDesc& weights,
          const MemoryDesc& dst, const MatMulOptions& options) {
  dnnl::primitive_attr attributes = UserScratchpad();
  constexpr int kByColumn = 1 << 1;
  if (options.scales) attributes.set_scales_mask(DNNL_ARG_WEIGHTS, kByColumn);
  if (options.add) {
    dnnl::post_ops after;
    after.append_sum(1.0f);
    attributes.set_post_ops(after);
  }
  MemoryDesc bias;
  if (options.bias) bias = Matrix(DataType::f32, 1, dst.get_dims().back());
  const dnnl::matmul::primitive_desc desc(Cpu(), src, weights, bias, dst,
                                          attributes);
  return {dnnl::matmul(desc), desc.scratchpad_desc(), desc.weights_desc(),
          desc.impl_info_str()};
}

Step::Step(const Op& op, std::initializer_list<Argument> arguments)
    : primitive_(op.primitive.get()) {
  for (const Argument& argument : arguments) {
    if (argument.memory == nullptr) continue;
    arguments_.push_back({argument.position, argument.memory->get()});
  }
}

absl::Status Step::Run(const dnnl::stream& stream) const {
  const dnnl_status_t status = dnnl_primitive_execute(
      primitive_, stream.get(), static_cast<int>(arguments_.size()),
      arguments_.data());
  if (status == dnnl_success) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(
      "oneDNN could not run a primitive: status ", static_cast<int>(status)));
}

}  // namespace vit::onednn
