// Self-attention of one query from the tokens themselves, without their keys
// and values. Included once for every instruction set.

#if defined(MNIST_VIT_MODEL_KERNELS_ABSORBED_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef MNIST_VIT_MODEL_KERNELS_ABSORBED_INL_H_
#undef MNIST_VIT_MODEL_KERNELS_ABSORBED_INL_H_
#else
#define MNIST_VIT_MODEL_KERNELS_ABSORBED_INL_H_
#endif

#include <cstddef>

#include "hwy/highway.h"
#include "model/kernels.h"
#include "model/kernels_attention-inl.h"
#include "model/kernels_memory-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vit::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// A matrix by rows.
struct RowsOfFloats {
  const float* data;
  size_t stride;
  size_t rows;
};

// One vector of the rows' sum, weighted by `factor`. In four chains, for each
// addition waits for the one before it.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V CombineVector(D d, const float* HWY_RESTRICT factor,
                           const RowsOfFloats& rows, size_t column) {
  const float* HWY_RESTRICT row = rows.data + column;
  const size_t stride = rows.stride;
  V sum0 = hn::Zero(d), sum1 = sum0, sum2 = sum0, sum3 = sum0;
  size_t r = 0;
  for (; r + 4 <= rows.rows; r += 4, row += 4 * stride) {
    sum0 = hn::MulAdd(hn::Set(d, factor[r]), hn::LoadU(d, row), sum0);
    sum1 =
        hn::MulAdd(hn::Set(d, factor[r + 1]), hn::LoadU(d, row + stride), sum1);
    sum2 = hn::MulAdd(hn::Set(d, factor[r + 2]), hn::LoadU(d, row + 2 * stride),
                      sum2);
    sum3 = hn::MulAdd(hn::Set(d, factor[r + 3]), hn::LoadU(d, row + 3 * stride),
                      sum3);
  }
  for (; r < rows.rows; ++r, row += stride) {
    sum0 = hn::MulAdd(hn::Set(d, factor[r]), hn::LoadU(d, row), sum0);
  }
  return hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3));
}

// The same of whole rows, as many columns as there are in whole vectors.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void Combine(D d, const float* HWY_RESTRICT factor,
                        const RowsOfFloats& rows, size_t columns,
                        float* HWY_RESTRICT out) {
  const size_t lanes = hn::Lanes(d);
  size_t c = 0;
  for (; c + 4 * lanes <= columns; c += 4 * lanes) {
    const float* HWY_RESTRICT row = rows.data + c;
    V sum0 = hn::Zero(d), sum1 = sum0, sum2 = sum0, sum3 = sum0;
    for (size_t r = 0; r < rows.rows; ++r, row += rows.stride) {
      const V f = hn::Set(d, factor[r]);
      sum0 = hn::MulAdd(f, hn::LoadU(d, row), sum0);
      sum1 = hn::MulAdd(f, hn::LoadU(d, row + lanes), sum1);
      sum2 = hn::MulAdd(f, hn::LoadU(d, row + 2 * lanes), sum2);
      sum3 = hn::MulAdd(f, hn::LoadU(d, row + 3 * lanes), sum3);
    }
    PutFour(d, sum0, sum1, sum2, sum3, out + c);
  }
  for (; c < columns; c += lanes) {
    hn::StoreU(CombineVector(d, factor, rows, c), d, out + c);
  }
}

// Each row's product with `by`.
template <class D>
HWY_INLINE void Products(D d, const float* HWY_RESTRICT by,
                         const RowsOfFloats& rows, size_t columns,
                         float* HWY_RESTRICT out) {
  const size_t lanes = hn::Lanes(d);
  const auto product = [&](size_t r) HWY_ATTR {
    const float* HWY_RESTRICT row = rows.data + r * rows.stride;
    auto sum = hn::Zero(d);
    for (size_t c = 0; c < columns; c += lanes) {
      sum = hn::MulAdd(hn::LoadU(d, by + c), hn::LoadU(d, row + c), sum);
    }
    return sum;
  };
  ScoresOf(d, rows.rows, product, out);
}

template <typename Out>
void AttendAbsorbed(const AbsorbedInput& in, const AbsorbedWeights& by,
                    float scale, float zero, Out* context, float* scratch) {
  const hn::CappedTag<float, kAbsorbedStep> d;
  using V = hn::Vec<decltype(d)>;
  const size_t lanes = hn::Lanes(d);
  const size_t width = by.heads * by.head_width;
  const size_t columns = hwy::RoundUpTo(width, kAbsorbedStep);
  const size_t outputs = hwy::RoundUpTo(by.head_width, kAbsorbedStep);
  const RowsOfFloats tokens = {in.data, width, in.tokens};
  float* folded = scratch;
  float* mean = scratch + columns;
  float* scores = scratch + 2 * columns;
  for (size_t h = 0; h < by.heads; ++h) {
    const size_t first = h * by.head_width;
    const RowsOfFloats key = {by.key + first * columns, columns, by.head_width};
    Combine(d, in.query + first, key, columns, folded);
    Products(d, folded, tokens, columns, scores);
    float sum = 0;
    ExpRows<1>(d, in.tokens, 0, scores, &sum);
    const float inverse = 1.0f / sum;
    Combine(d, scores, tokens, columns, mean);
    const RowsOfFloats value = {by.value + h * width * outputs, outputs, width};
    for (size_t c = 0; c < by.head_width; c += lanes) {
      const V y =
          hn::MulAdd(CombineVector(d, mean, value, c), hn::Set(d, inverse),
                     hn::LoadU(d, by.bias + h * outputs + c));
      const V result = hn::MulAdd(y, hn::Set(d, scale), hn::Set(d, zero));
      const size_t left = by.head_width - c;
      if (left >= lanes) {
        Put(d, result, context + first + c);
      } else {
        PutFirst(d, result, left, context + first + c);
      }
    }
  }
}

}  // namespace vit::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // MNIST_VIT_MODEL_KERNELS_ABSORBED_INL_H_
