// Linear layers: products of rows and weights summed up in registers, and what
// comes after them done on the way to memory. Included once for every
// instruction set; empty for those without AVX-512's registers, and in bytes
// and BFloat16 for those without VNNI. Those may still lack BF16: that is up to
// the CPU.

#if defined(MNIST_VIT_MODEL_KERNELS_LINEAR_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MNIST_VIT_MODEL_KERNELS_LINEAR_INL_H_
#undef MNIST_VIT_MODEL_KERNELS_LINEAR_INL_H_
#else
#define MNIST_VIT_MODEL_KERNELS_LINEAR_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "model/kernels.h"
#include "model/kernels_memory-inl.h"
#include "model/kernels_rows-inl.h"

#undef VIT_FLOAT_LINEAR
#undef VIT_BYTE_LINEAR
#undef VIT_BFLOAT_LINEAR
#define VIT_FLOAT_LINEAR (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3)
#define VIT_BYTE_LINEAR (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL)
#define VIT_BFLOAT_LINEAR VIT_BYTE_LINEAR

#if VIT_BYTE_LINEAR
// Highway 1.0 leaves these out of what it lets the compiler use here.
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni,avx512bf16")
#else
HWY_BEFORE_NAMESPACE();
#endif
namespace vit::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if VIT_FLOAT_LINEAR
using Floats = hn::FixedTag<float, 16>;
using Integers = hn::FixedTag<int32_t, 16>;
using FloatVec = hn::Vec<Floats>;

struct FloatProducts {
  using Sum = FloatVec;
  static constexpr size_t kStep = kFloatStep;

  static HWY_INLINE Sum Inputs(const float* x) { return hn::Set(Floats(), *x); }
  static HWY_INLINE Sum Weights(const float* w) {
    return hn::Load(Floats(), w);
  }
  static HWY_INLINE Sum Add(Sum sum, Sum x, Sum w) {
    return hn::MulAdd(x, w, sum);
  }

  struct Scale {
    template <typename Weight>
    Scale(const OrderedLinear<Weight>& by, size_t first)
        : bias(hn::Load(Floats(), by.bias + first)) {}
    HWY_INLINE FloatVec operator()(Sum sum) const { return hn::Add(sum, bias); }
    FloatVec bias;
  };
};

#if VIT_BYTE_LINEAR
struct ByteProducts {
  using Sum = hn::Vec<Integers>;
  static constexpr size_t kStep = kByteStep;

  static HWY_INLINE Sum Inputs(const uint8_t* x) {
    int32_t four;
    std::memcpy(&four, x, sizeof(four));
    return hn::Set(Integers(), four);
  }
  static HWY_INLINE Sum Weights(const int8_t* w) {
    return hn::Load(Integers(), reinterpret_cast<const int32_t*>(w));
  }
  static HWY_INLINE Sum Add(Sum sum, Sum x, Sum w) {
    return Sum{_mm512_dpbusd_epi32(sum.raw, x.raw, w.raw)};
  }

  struct Scale {
    Scale(const OrderedLinear<int8_t>& by, size_t first)
        : scale(hn::Load(Floats(), by.scale + first)),
          bias(hn::Load(Floats(), by.bias + first)) {}
    HWY_INLINE FloatVec operator()(Sum sum) const {
      return hn::MulAdd(hn::ConvertTo(Floats(), sum), scale, bias);
    }
    FloatVec scale, bias;
  };
};
#endif

#if VIT_BFLOAT_LINEAR
// Two values are in the place of a float.
struct BFloatProducts {
  using Sum = FloatVec;
  using Scale = FloatProducts::Scale;
  static constexpr size_t kStep = kBFloatStep;

  static HWY_INLINE Sum Inputs(const BFloat16* x) {
    int32_t two;
    std::memcpy(&two, x, sizeof(two));
    return hn::BitCast(Floats(), hn::Set(Integers(), two));
  }
  static HWY_INLINE Sum Weights(const BFloat16* w) {
    return hn::Load(Floats(), reinterpret_cast<const float*>(w));
  }
  static HWY_INLINE Sum Add(Sum sum, Sum x, Sum w) {
    return Sum{_mm512_dpbf16_ps(sum.raw, reinterpret_cast<__m512bh>(x.raw),
                                reinterpret_cast<__m512bh>(w.raw))};
  }
};
#endif

// The sums of one row. Variables with names: those of an array would live in
// memory.
template <class Products>
struct Sums {
  typename Products::Sum a, b, c, d;
};

// One step's products added to a row's sums.
template <class Products, typename Input>
HWY_INLINE Sums<Products> Add(const Sums<Products>& sums, const Input* row,
                              const Sums<Products>& weights) {
  const auto x = Products::Inputs(row);
  return {
      Products::Add(sums.a, x, weights.a), Products::Add(sums.b, x, weights.b),
      Products::Add(sums.c, x, weights.c), Products::Add(sums.d, x, weights.d)};
}

template <class Products, typename Lane>
HWY_INLINE void Store(const Sums<Products>& sums, Lane* HWY_RESTRICT to) {
  const hn::FixedTag<Lane, 16> d;
  hn::Store(sums.a, d, to);
  hn::Store(sums.b, d, to + 16);
  hn::Store(sums.c, d, to + 32);
  hn::Store(sums.d, d, to + 48);
}

// What becomes of a result on its way to `to`, where `count` of its lanes go.
struct AsItIs {
  template <typename Out>
  HWY_INLINE FloatVec operator()(FloatVec y, const Out*, size_t) const {
    return y;
  }
};

struct PlusWhatWasThere {
  HWY_INLINE FloatVec operator()(FloatVec y, const float* to,
                                 size_t count) const {
    const Floats d;
    return hn::Add(y, count == 16 ? hn::LoadU(d, to) : LoadFirst(d, to, count));
  }
};

struct Activated {
  HWY_INLINE FloatVec operator()(FloatVec y, const float*, size_t) const {
    return GeluOf(Floats(), y);
  }
};

struct ActivatedRoughly {
  HWY_INLINE FloatVec operator()(FloatVec y, const BFloat16*, size_t) const {
    return RoughGeluOf(Floats(), y);
  }
};

struct ActivatedInBytes {
  float scale, zero;

  HWY_INLINE FloatVec operator()(FloatVec y, const uint8_t*, size_t) const {
    const Floats d;
    return hn::MulAdd(RoughGeluOf(d, y), hn::Set(d, scale), hn::Set(d, zero));
  }
};

// kRows rows of one block of outputs: 24 of 32 registers hold their sums. These
// go through memory then: kept in registers for what follows, they would be
// spilled at every step of the loop.
template <class Products, size_t kRows, typename Input, typename Weight,
          class After, typename Out>
HWY_NOINLINE void Tile(const Input* HWY_RESTRICT from, size_t stride,
                       const OrderedLinear<Weight>& by, size_t block,
                       const After after, Out* out) {
  const size_t steps = LinearSteps(by.inputs, Products::kStep);
  const Weight* HWY_RESTRICT weight =
      by.weight + block * steps * kLinearBlock * Products::kStep;
  constexpr size_t kVector = 16 * Products::kStep;
  const auto zero = hn::Zero(hn::DFromV<typename Products::Sum>());
  const Sums<Products> zeros = {zero, zero, zero, zero};
  Sums<Products> s0 = zeros, s1 = zeros, s2 = zeros;
  Sums<Products> s3 = zeros, s4 = zeros, s5 = zeros;
  for (size_t s = 0; s < steps; ++s) {
    const Sums<Products> w = {Products::Weights(weight),
                              Products::Weights(weight + kVector),
                              Products::Weights(weight + 2 * kVector),
                              Products::Weights(weight + 3 * kVector)};
    s0 = Add(s0, from, w);
    if constexpr (kRows > 1) s1 = Add(s1, from + stride, w);
    if constexpr (kRows > 2) s2 = Add(s2, from + 2 * stride, w);
    if constexpr (kRows > 3) s3 = Add(s3, from + 3 * stride, w);
    if constexpr (kRows > 4) s4 = Add(s4, from + 4 * stride, w);
    if constexpr (kRows > 5) s5 = Add(s5, from + 5 * stride, w);
    weight += 4 * kVector;
    from += Products::kStep;
  }
  using Lane = hn::TFromV<typename Products::Sum>;
  HWY_ALIGN Lane sums[kRows * kLinearBlock];
  Store(s0, sums);
  if constexpr (kRows > 1) Store(s1, sums + kLinearBlock);
  if constexpr (kRows > 2) Store(s2, sums + 2 * kLinearBlock);
  if constexpr (kRows > 3) Store(s3, sums + 3 * kLinearBlock);
  if constexpr (kRows > 4) Store(s4, sums + 4 * kLinearBlock);
  if constexpr (kRows > 5) Store(s5, sums + 5 * kLinearBlock);

  const size_t outputs = by.outputs;
  const size_t first = block * kLinearBlock;
  const typename Products::Scale f0(by, first), f1(by, first + 16);
  const typename Products::Scale f2(by, first + 32), f3(by, first + 48);
  out += first;
  const bool whole = first + kLinearBlock <= outputs;
  for (size_t r = 0; r < kRows; ++r, out += outputs) {
    const Lane* HWY_RESTRICT sum = sums + r * kLinearBlock;
    const hn::FixedTag<Lane, 16> lanes;
    const FloatVec y0 = f0(hn::Load(lanes, sum));
    const FloatVec y1 = f1(hn::Load(lanes, sum + 16));
    const FloatVec y2 = f2(hn::Load(lanes, sum + 32));
    const FloatVec y3 = f3(hn::Load(lanes, sum + 48));
    if (whole) {
      PutFour(Floats(), after(y0, out, 16), after(y1, out + 16, 16),
              after(y2, out + 32, 16), after(y3, out + 48, 16), out);
    } else {
      const FloatVec all[] = {y0, y1, y2, y3};
      for (size_t v = 0; v < 4 && first + 16 * v < outputs; ++v) {
        const size_t count = std::min<size_t>(16, outputs - first - 16 * v);
        Out* to = out + 16 * v;
        PutFirst(Floats(), after(all[v], to, count), count, to);
      }
    }
  }
}

// Blocks of outputs outside, so that a block's weights stay in the first-level
// cache while the rows pass.
template <class Products, typename Input, typename Weight, class After,
          typename Out>
HWY_INLINE void Tiles(const Rows<Input>& in, const OrderedLinear<Weight>& by,
                      const After& after, Out* out) {
  for (size_t block = 0; block < LinearBlocks(by.outputs); ++block) {
    const Input* from = in.data;
    Out* to = out;
    const auto tile = [&](auto rows) HWY_ATTR {
      Tile<Products, rows()>(from, in.stride, by, block, after, to);
      from += rows() * in.stride;
      to += rows() * by.outputs;
    };
    size_t left = in.rows;
    for (; left >= 6; left -= 6) tile(RowCount<6>());
    WithCount<5>(left, tile);
  }
}
#endif

#if VIT_FLOAT_LINEAR
void FloatLinear(const Rows<float>& in, const OrderedLinear<float>& by,
                 float* out) {
  Tiles<FloatProducts>(in, by, AsItIs(), out);
}

void FloatLinearAdd(const Rows<float>& in, const OrderedLinear<float>& by,
                    float* out) {
  Tiles<FloatProducts>(in, by, PlusWhatWasThere(), out);
}

void FloatLinearGelu(const Rows<float>& in, const OrderedLinear<float>& by,
                     float* out) {
  Tiles<FloatProducts>(in, by, Activated(), out);
}
#else
void FloatLinear(const Rows<float>&, const OrderedLinear<float>&, float*) {}
void FloatLinearAdd(const Rows<float>&, const OrderedLinear<float>&, float*) {}
void FloatLinearGelu(const Rows<float>&, const OrderedLinear<float>&, float*) {}
#endif

#if VIT_BYTE_LINEAR
void ByteLinear(const Rows<uint8_t>& in, const OrderedLinear<int8_t>& by,
                float* out) {
  Tiles<ByteProducts>(in, by, AsItIs(), out);
}

void ByteLinearToByte(const Rows<uint8_t>& in, const OrderedLinear<int8_t>& by,
                      uint8_t* out) {
  Tiles<ByteProducts>(in, by, AsItIs(), out);
}

void ByteLinearAdd(const Rows<uint8_t>& in, const OrderedLinear<int8_t>& by,
                   float* out) {
  Tiles<ByteProducts>(in, by, PlusWhatWasThere(), out);
}

void ByteLinearGelu(const Rows<uint8_t>& in, const OrderedLinear<int8_t>& by,
                    float scale, float zero, uint8_t* out) {
  Tiles<ByteProducts>(in, by, ActivatedInBytes{scale, zero}, out);
}
#else
void ByteLinear(const Rows<uint8_t>&, const OrderedLinear<int8_t>&, float*) {}
void ByteLinearToByte(const Rows<uint8_t>&, const OrderedLinear<int8_t>&,
                      uint8_t*) {}
void ByteLinearAdd(const Rows<uint8_t>&, const OrderedLinear<int8_t>&, float*) {
}
void ByteLinearGelu(const Rows<uint8_t>&, const OrderedLinear<int8_t>&, float,
                    float, uint8_t*) {}
#endif

#if VIT_BFLOAT_LINEAR
void BFloatLinear(const Rows<BFloat16>& in, const OrderedLinear<BFloat16>& by,
                  float* out) {
  Tiles<BFloatProducts>(in, by, AsItIs(), out);
}

void BFloatLinearAdd(const Rows<BFloat16>& in,
                     const OrderedLinear<BFloat16>& by, float* out) {
  Tiles<BFloatProducts>(in, by, PlusWhatWasThere(), out);
}

void BFloatLinearGelu(const Rows<BFloat16>& in,
                      const OrderedLinear<BFloat16>& by, BFloat16* out) {
  Tiles<BFloatProducts>(in, by, ActivatedRoughly(), out);
}

bool HasBFloats() { return __builtin_cpu_supports("avx512bf16") != 0; }
#else
void BFloatLinear(const Rows<BFloat16>&, const OrderedLinear<BFloat16>&,
                  float*) {}
void BFloatLinearAdd(const Rows<BFloat16>&, const OrderedLinear<BFloat16>&,
                     float*) {}
void BFloatLinearGelu(const Rows<BFloat16>&, const OrderedLinear<BFloat16>&,
                      BFloat16*) {}
bool HasBFloats() { return false; }
#endif

bool HasFloats() { return VIT_FLOAT_LINEAR != 0; }
bool HasBytes() { return VIT_BYTE_LINEAR != 0; }

}  // namespace vit::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // MNIST_VIT_MODEL_KERNELS_LINEAR_INL_H_
