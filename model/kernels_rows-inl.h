// Kernels that go through rows or values once: quantisation, layer
// normalisation, GELU. Included once for every instruction set.

#if defined(MNIST_VIT_MODEL_KERNELS_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MNIST_VIT_MODEL_KERNELS_ROWS_INL_H_
#undef MNIST_VIT_MODEL_KERNELS_ROWS_INL_H_
#else
#define MNIST_VIT_MODEL_KERNELS_ROWS_INL_H_
#endif

#include <cmath>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "model/kernels.h"
#include "model/kernels_memory-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vit::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// x Phi(x), where Phi(x) = 1/2 + x R(x^2). R is the rational function of these
// degrees with the least error of the result for |x| up to kEnd, from where on
// Phi is 0 or 1 to within 3e-7.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V GeluOf(D d, V x) {
  constexpr float kEnd = 5.0f;
  const V t = hn::Min(hn::Max(x, hn::Set(d, -kEnd)), hn::Set(d, kEnd));
  const V u = hn::Mul(t, t);
  V p = hn::Set(d, 6.252291495911777e-05f);
  p = hn::MulAdd(p, u, hn::Set(d, 0.004320202860981226f));
  p = hn::MulAdd(p, u, hn::Set(d, 0.02937907911837101f));
  p = hn::MulAdd(p, u, hn::Set(d, 0.39896610379219055f));
  V q = hn::Set(d, 3.815362560999347e-06f);
  q = hn::MulAdd(q, u, hn::Set(d, 0.0015056756092235446f));
  q = hn::MulAdd(q, u, hn::Set(d, 0.025721654295921326f));
  q = hn::MulAdd(q, u, hn::Set(d, 0.2404918074607849f));
  q = hn::MulAdd(q, u, hn::Set(d, 1.0f));
  const V phi =
      hn::MulAdd(hn::Mul(t, p), hn::Div(hn::Set(d, 1.0f), q), hn::Set(d, 0.5f));
  return hn::Mul(x, phi);
}

// The same for a result that becomes a byte or a BFloat16: R is a polynomial,
// within kGeluByteError of the exact result for |x| up to 8.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V RoughGeluOf(D d, V x) {
  constexpr float kEnd = 3.6f;
  const V t = hn::Min(hn::Max(x, hn::Set(d, -kEnd)), hn::Set(d, kEnd));
  const V u = hn::Mul(t, t);
  V r = hn::Set(d, -5.45891583e-07f);
  r = hn::MulAdd(r, u, hn::Set(d, 2.89483553e-05f));
  r = hn::MulAdd(r, u, hn::Set(d, -6.45377796e-04f));
  r = hn::MulAdd(r, u, hn::Set(d, 8.01732161e-03f));
  r = hn::MulAdd(r, u, hn::Set(d, -6.30239042e-02f));
  r = hn::MulAdd(r, u, hn::Set(d, 3.96831487e-01f));
  return hn::Mul(x, hn::MulAdd(t, r, hn::Set(d, 0.5f)));
}

template <typename Out>
void GeluAll(const float* HWY_RESTRICT x, size_t count, float scale, float zero,
             Out* out) {
  const hn::ScalableTag<float> d;
  const size_t lanes = hn::Lanes(d);
  const auto scales = hn::Set(d, scale);
  const auto zeros = hn::Set(d, zero);
  const auto gelu = [&](auto v) HWY_ATTR {
    if constexpr (sizeof(Out) == 1) {
      return hn::MulAdd(RoughGeluOf(d, v), scales, zeros);
    } else if constexpr (sizeof(Out) == 2) {
      return RoughGeluOf(d, v);
    } else {
      return GeluOf(d, v);
    }
  };
  size_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    Put(d, gelu(hn::LoadU(d, x + i)), out + i);
  }
  if (i < count) {
    const auto rest = LoadFirst(d, x + i, count - i);
    PutFirst(d, gelu(rest), count - i, out + i);
  }
}

// Loads values i to i + Lanes, zeros behind the end.
template <class D>
HWY_INLINE hn::Vec<D> LoadPart(D d, const float* p, size_t i, size_t end) {
  if (i + hn::Lanes(d) <= end) return hn::LoadU(d, p + i);
  return LoadFirst(d, p + i, end - i);
}

template <class D, typename Out>
void NormRow(D d, const NormInput& in, const float* HWY_RESTRICT row,
             Out* HWY_RESTRICT out) {
  const size_t lanes = hn::Lanes(d);
  const float share = 1.0f / static_cast<float>(in.width);
  auto sum = hn::Zero(d);
  for (size_t i = 0; i < in.width; i += lanes) {
    sum = hn::Add(sum, LoadPart(d, row, i, in.width));
  }
  const auto mean = hn::Mul(hn::SumOfLanes(d, sum), hn::Set(d, share));
  auto squares = hn::Zero(d);
  for (size_t i = 0; i < in.width; i += lanes) {
    auto off = hn::Sub(LoadPart(d, row, i, in.width), mean);
    // Lanes behind the end are not part of the row.
    if (i + lanes > in.width) {
      off = hn::IfThenElseZero(hn::FirstN(d, in.width - i), off);
    }
    squares = hn::MulAdd(off, off, squares);
  }
  const float variance = hn::GetLane(hn::SumOfLanes(d, squares)) * share;
  const auto inverse = hn::Set(d, 1.0f / std::sqrt(variance + in.epsilon));
  for (size_t i = 0; i < in.width; i += lanes) {
    const auto off = hn::Sub(LoadPart(d, row, i, in.width), mean);
    const auto y =
        hn::MulAdd(hn::Mul(off, inverse), LoadPart(d, in.gain, i, in.width),
                   LoadPart(d, in.shift, i, in.width));
    if (i + lanes <= in.width) {
      Put(d, y, out + i);
    } else {
      PutFirst(d, y, in.width - i, out + i);
    }
  }
}

// A row of four vectors, in registers.
template <class D, typename Out>
HWY_INLINE void NormFour(D d, const NormInput& in,
                         const float* HWY_RESTRICT row, Out* HWY_RESTRICT out) {
  using V = hn::Vec<D>;
  const size_t lanes = hn::Lanes(d);
  const float share = 1.0f / static_cast<float>(in.width);
  const V x0 = hn::LoadU(d, row);
  const V x1 = hn::LoadU(d, row + lanes);
  const V x2 = hn::LoadU(d, row + 2 * lanes);
  const V x3 = hn::LoadU(d, row + 3 * lanes);
  const V sum = hn::Add(hn::Add(x0, x1), hn::Add(x2, x3));
  const V mean = hn::Mul(hn::SumOfLanes(d, sum), hn::Set(d, share));
  const V y0 = hn::Sub(x0, mean);
  const V y1 = hn::Sub(x1, mean);
  const V y2 = hn::Sub(x2, mean);
  const V y3 = hn::Sub(x3, mean);
  const V squares = hn::Add(hn::MulAdd(y0, y0, hn::Mul(y1, y1)),
                            hn::MulAdd(y2, y2, hn::Mul(y3, y3)));
  const float variance = hn::GetLane(hn::SumOfLanes(d, squares)) * share;
  const V inverse = hn::Set(d, 1.0f / std::sqrt(variance + in.epsilon));
  const auto result = [&](V y, size_t i) HWY_ATTR {
    return hn::MulAdd(hn::Mul(y, inverse), hn::LoadU(d, in.gain + i * lanes),
                      hn::LoadU(d, in.shift + i * lanes));
  };
  PutFour(d, result(y0, 0), result(y1, 1), result(y2, 2), result(y3, 3), out);
}

template <typename Out>
void NormRows(const NormInput& in, Out* out) {
  const hn::ScalableTag<float> d;
  if (in.width == 4 * hn::Lanes(d)) {
    for (size_t r = 0; r < in.rows; ++r) {
      NormFour(d, in, in.data + r * in.stride, out + r * in.width);
    }
    return;
  }
  for (size_t r = 0; r < in.rows; ++r) {
    NormRow(d, in, in.data + r * in.stride, out + r * in.width);
  }
}

}  // namespace vit::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // MNIST_VIT_MODEL_KERNELS_ROWS_INL_H_
