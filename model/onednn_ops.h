#ifndef MNIST_VIT_MODEL_ONEDNN_OPS_H_
#define MNIST_VIT_MODEL_ONEDNN_OPS_H_

#include <functional>
#include <initializer_list>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "oneapi/dnnl/dnnl.hpp"

// The few parts of oneDNN that the engine uses, in its terms. The library
// throws: whoever makes or calls something here does it inside Guarded, and
// nothing leaves the engine but a status.
namespace vit::onednn {

using DataType = dnnl::memory::data_type;
using Dims = dnnl::memory::dims;
using MemoryDesc = dnnl::memory::desc;

// This machine's CPU; one for the process, thread-safe.
const dnnl::engine& Cpu();

// It runs a primitive on as many threads as OpenMP grants the caller, and plans
// for as many as it grants the maker: one, from now on, in the calling thread.
void UseOneThread();

// oneDNN's version and the instruction set that its kernels use here, such as
// "oneDNN 3.2.0, AVX-512 with VNNI".
std::string Description();

// Whether 8-bit products are summed up exactly here: without VNNI, or its like
// on other CPUs, oneDNN's kernels saturate at 16 bits.
bool HasInt8Products();

// Whether the CPU itself multiplies bfloat16 and adds up in f32: oneDNN also
// does it without, slower than in f32.
bool HasBf16Products();

// Whether it does so with whole matrices (AMX).
bool HasBf16Tiles();

// rows x columns with rows `stride` elements apart; dense if that is zero.
MemoryDesc Matrix(DataType type, int64_t rows, int64_t columns,
                  int64_t stride = 0);

// A matmul's weights in whatever order suits it best.
MemoryDesc Packed(DataType type, int64_t inputs, int64_t outputs);

// Calls `make`; Internal if oneDNN throws, with its message behind `what`.
absl::Status Guarded(const std::string& what,
                     const std::function<void()>& make);

// One primitive. Immutable, so safe to run from several threads at once with
// memory of their own.
struct Op {
  dnnl::primitive primitive;
  MemoryDesc scratchpad;
  MemoryDesc weights;  // as the op chose
  std::string kernel;  // oneDNN's name of it, such as "brg:avx512_core"
};

// What a matmul does to its result.
struct MatMulOptions {
  bool scales = false;  // multiplies every column with a factor of its own
  bool bias = false;    // then adds one value a column
  bool add = false;     // then adds what the destination held: a residual
};

// dst = src weights.
Op MatMul(const MemoryDesc& src, const MemoryDesc& weights,
          const MemoryDesc& dst, const MatMulOptions& options);

// An op with all of its memory: a call that needs nothing more. Whoever makes
// it keeps the op and the memory alive.
class Step {
 public:
  struct Argument {
    int position;  // DNNL_ARG_...
    const dnnl::memory* memory;
  };

  Step(const Op& op, std::initializer_list<Argument> arguments);

  // Through oneDNN's C interface: the C++ one builds two containers a call.
  absl::Status Run(const dnnl::stream& stream) const;

 private:
  dnnl_primitive_t primitive_;
  std::vector<dnnl_exec_arg_t> arguments_;
};

}  // namespace vit::onednn

#endif  // MNIST_VIT_MODEL_ONEDNN_OPS_H_
