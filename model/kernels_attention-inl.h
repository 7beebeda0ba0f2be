// Self-attention of one image, head by head: the keys transposed once, then for
// a few queries at a time the scores, their softmax and the weighted sum of the
// values, all in registers and the first-level cache. Included once for every
// instruction set.

#if defined(MNIST_VIT_MODEL_KERNELS_ATTENTION_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef MNIST_VIT_MODEL_KERNELS_ATTENTION_INL_H_
#undef MNIST_VIT_MODEL_KERNELS_ATTENTION_INL_H_
#else
#define MNIST_VIT_MODEL_KERNELS_ATTENTION_INL_H_
#endif

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "model/kernels.h"
#include "model/kernels_memory-inl.h"

#ifndef MNIST_VIT_MODEL_KERNELS_ATTENTION_ONCE
#define MNIST_VIT_MODEL_KERNELS_ATTENTION_ONCE
namespace vit::kernels {
// Queries whose scores are in memory at once.
inline constexpr size_t kMaxRowsAtOnce = 20;
}  // namespace vit::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace vit::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// e^x for x <= 0: 2^n times a polynomial of least relative error (7.5e-8) for
// 2^f, with |f| <= 1/2. Below -87 it stays at the least normal number.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V ExpOfNegative(D d, V x) {
  constexpr float kLog2E = 1.44269504f;
  constexpr int kMantissaBits = 23;
  // Added to a small number, it leaves the nearest integer in the lowest bits.
  constexpr float kRound = 1.5f * (1 << kMantissaBits);
  const V log2e = hn::Set(d, kLog2E);
  const V round = hn::Set(d, kRound);
  const V least = hn::Max(x, hn::Set(d, -126.0f / kLog2E));
  const V rounded = hn::MulAdd(least, log2e, round);
  const V f = hn::MulSub(least, log2e, hn::Sub(rounded, round));
  V p = hn::Set(d, 0.0013276466634124517f);
  p = hn::MulAdd(p, f, hn::Set(d, 0.009675541892647743f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.05550713464617729f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.24022120237350464f));
  p = hn::MulAdd(p, f, hn::Set(d, 0.6931469440460205f));
  p = hn::MulAdd(p, f, hn::Set(d, 1.0000001192092896f));
  const hn::RebindToSigned<D> di;
  const auto exponent = hn::ShiftLeft<kMantissaBits>(hn::BitCast(di, rounded));
  return hn::BitCast(d, hn::Add(hn::BitCast(di, p), exponent));
}

// One head's part of an image.
struct Head {
  const float* query;
  size_t query_stride;
  const float* keys;  // transposed: [head_width][padded]
  const float* value;
  size_t value_stride;
  size_t tokens;
  size_t padded;  // tokens, rounded up to whole vectors
  size_t head_width;
};

#if HWY_TARGET != HWY_SCALAR
// Four rows of four values, transposed.
template <class D4>
HWY_INLINE void Transpose4x4(D4 d, const float* from, size_t from_stride,
                             float* HWY_RESTRICT to, size_t to_stride) {
  const hn::Repartition<uint64_t, D4> pairs;
  const auto r0 = hn::LoadU(d, from);
  const auto r1 = hn::LoadU(d, from + from_stride);
  const auto r2 = hn::LoadU(d, from + 2 * from_stride);
  const auto r3 = hn::LoadU(d, from + 3 * from_stride);
  const auto low01 = hn::BitCast(pairs, hn::InterleaveLower(d, r0, r1));
  const auto low23 = hn::BitCast(pairs, hn::InterleaveLower(d, r2, r3));
  const auto high01 = hn::BitCast(pairs, hn::InterleaveUpper(d, r0, r1));
  const auto high23 = hn::BitCast(pairs, hn::InterleaveUpper(d, r2, r3));
  const auto store = [&](auto column, size_t index) HWY_ATTR {
    hn::StoreU(hn::BitCast(d, column), d, to + index * to_stride);
  };
  store(hn::InterleaveLower(pairs, low01, low23), 0);
  store(hn::InterleaveUpper(pairs, low01, low23), 1);
  store(hn::InterleaveLower(pairs, high01, high23), 2);
  store(hn::InterleaveUpper(pairs, high01, high23), 3);
}
#endif

// keys[c][j] = key[j][c].
HWY_INLINE void TransposeKeys(const float* HWY_RESTRICT key, size_t stride,
                              size_t tokens, size_t padded, size_t head_width,
                              float* HWY_RESTRICT keys) {
  size_t whole_tokens = 0;
  size_t whole_columns = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::CappedTag<float, 4> four;
  whole_tokens = tokens / 4 * 4;
  whole_columns = head_width / 4 * 4;
  for (size_t c = 0; c < whole_columns; c += 4) {
    for (size_t j = 0; j < whole_tokens; j += 4) {
      Transpose4x4(four, key + j * stride + c, stride, keys + c * padded + j,
                   padded);
    }
  }
#endif
  for (size_t c = 0; c < head_width; ++c) {
    float* HWY_RESTRICT to = keys + c * padded;
    const size_t first = c < whole_columns ? whole_tokens : 0;
    for (size_t j = first; j < tokens; ++j) to[j] = key[j * stride + c];
  }
}

// Scores of kRows queries with kVectors vectors of keys from key `first` on.
template <size_t kRows, size_t kVectors, class D>
HWY_INLINE void ScoreBlock(D d, const Head& head, const float* query,
                           size_t first, float* HWY_RESTRICT scores) {
  using V = hn::Vec<D>;
  const size_t lanes = hn::Lanes(d);
  V sum[kRows][kVectors];
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) sum[r][v] = hn::Zero(d);
  }
  for (size_t c = 0; c < head.head_width; ++c) {
    const float* HWY_RESTRICT keys = head.keys + c * head.padded + first;
    V k[kVectors];
    for (size_t v = 0; v < kVectors; ++v) k[v] = hn::LoadU(d, keys + v * lanes);
    for (size_t r = 0; r < kRows; ++r) {
      const V q = hn::Set(d, query[r * head.query_stride + c]);
      for (size_t v = 0; v < kVectors; ++v) {
        sum[r][v] = hn::MulAdd(q, k[v], sum[r][v]);
      }
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) {
      hn::StoreU(sum[r][v], d, scores + r * head.padded + first + v * lanes);
    }
  }
}

template <size_t kRows, class D>
HWY_INLINE void Scores(D d, const Head& head, const float* query,
                       float* HWY_RESTRICT scores) {
  const size_t lanes = hn::Lanes(d);
  size_t j = 0;
  for (; j + 3 * lanes <= head.padded; j += 3 * lanes) {
    ScoreBlock<kRows, 3>(d, head, query, j, scores);
  }
  for (; j < head.padded; j += lanes) {
    ScoreBlock<kRows, 1>(d, head, query, j, scores);
  }
}

// kRows rows of scores to e^(score - largest of the row), zero behind the last
// token; sums[r] becomes the sum of row r. Rows go side by side, for the chains
// of operations of one are long.
template <size_t kRows, class D>
HWY_INLINE void ExpRows(D d, const Head& head, float* HWY_RESTRICT rows,
                        float* HWY_RESTRICT sums) {
  using V = hn::Vec<D>;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = head.tokens / lanes * lanes;
  const auto present = hn::FirstN(d, head.tokens - whole);
  const V lowest = hn::Set(d, hwy::LowestValue<float>());
  V largest[kRows];
  for (size_t r = 0; r < kRows; ++r) largest[r] = lowest;
  for (size_t j = 0; j < whole; j += lanes) {
    for (size_t r = 0; r < kRows; ++r) {
      largest[r] =
          hn::Max(largest[r], hn::LoadU(d, rows + r * head.padded + j));
    }
  }
  if (whole < head.tokens) {
    for (size_t r = 0; r < kRows; ++r) {
      const V last = hn::LoadU(d, rows + r * head.padded + whole);
      largest[r] = hn::Max(largest[r], hn::IfThenElse(present, last, lowest));
    }
  }
  V sum[kRows];
  for (size_t r = 0; r < kRows; ++r) {
    largest[r] = hn::MaxOfLanes(d, largest[r]);
    sum[r] = hn::Zero(d);
  }
  for (size_t j = 0; j < whole; j += lanes) {
    for (size_t r = 0; r < kRows; ++r) {
      float* at = rows + r * head.padded + j;
      const V e = ExpOfNegative(d, hn::Sub(hn::LoadU(d, at), largest[r]));
      hn::StoreU(e, d, at);
      sum[r] = hn::Add(sum[r], e);
    }
  }
  if (whole < head.tokens) {
    for (size_t r = 0; r < kRows; ++r) {
      float* at = rows + r * head.padded + whole;
      const V e = hn::IfThenElseZero(
          present, ExpOfNegative(d, hn::Sub(hn::LoadU(d, at), largest[r])));
      hn::StoreU(e, d, at);
      sum[r] = hn::Add(sum[r], e);
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    sums[r] = hn::GetLane(hn::SumOfLanes(d, sum[r]));
  }
}

// Columns [first, first + kVectors * Lanes) of the values' sum, weighted by
// kRows rows, as far as the head goes; times factor[r], plus `zero`.
template <size_t kRows, size_t kVectors, class D, typename Out>
HWY_INLINE void WeightedBlock(D d, const Head& head, const float* weights,
                              const float* factor, float zero, size_t first,
                              Out* out, size_t out_stride) {
  using V = hn::Vec<D>;
  const size_t lanes = hn::Lanes(d);
  const bool whole = first + kVectors * lanes <= head.head_width;
  V sum[kRows][kVectors];
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) sum[r][v] = hn::Zero(d);
  }
  for (size_t j = 0; j < head.tokens; ++j) {
    const float* HWY_RESTRICT value =
        head.value + j * head.value_stride + first;
    V x[kVectors];
    for (size_t v = 0; v < kVectors; ++v) {
      x[v] = whole ? hn::LoadU(d, value + v * lanes)
                   : LoadFirst(d, value, head.head_width - first);
    }
    for (size_t r = 0; r < kRows; ++r) {
      const V w = hn::Set(d, weights[r * head.padded + j]);
      for (size_t v = 0; v < kVectors; ++v) {
        sum[r][v] = hn::MulAdd(w, x[v], sum[r][v]);
      }
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) {
      const V y =
          hn::MulAdd(sum[r][v], hn::Set(d, factor[r]), hn::Set(d, zero));
      Out* to = out + r * out_stride + first + v * lanes;
      if (whole) {
        Put(d, y, to);
      } else {
        PutFirst(d, y, head.head_width - first, to);
      }
    }
  }
}

template <size_t kRows, class D, typename Out>
HWY_INLINE void WeightedSum(D d, const Head& head, const float* weights,
                            const float* factor, float zero, Out* out,
                            size_t out_stride) {
  const size_t lanes = hn::Lanes(d);
  size_t c = 0;
  for (; c + 4 * lanes <= head.head_width; c += 4 * lanes) {
    WeightedBlock<kRows, 4>(d, head, weights, factor, zero, c, out, out_stride);
  }
  for (; c + 2 * lanes <= head.head_width; c += 2 * lanes) {
    WeightedBlock<kRows, 2>(d, head, weights, factor, zero, c, out, out_stride);
  }
  for (; c < head.head_width; c += lanes) {
    WeightedBlock<kRows, 1>(d, head, weights, factor, zero, c, out, out_stride);
  }
}

// Calls work(count, first), count a constant, for groups that make up `rows`
// rows. Four rows fill the registers; a fifth is better off with them than
// alone.
template <class Work>
HWY_INLINE void ForGroups(size_t rows, const Work& work) {
  size_t first = 0;
  for (; rows - first == 4 || rows - first > 5; first += 4) {
    work(RowCount<4>(), first);
  }
  switch (rows - first) {
    case 5:
      return work(RowCount<5>(), first);
    case 3:
      return work(RowCount<3>(), first);
    case 2:
      return work(RowCount<2>(), first);
    case 1:
      return work(RowCount<1>(), first);
    default:
      return;
  }
}

// `rows` queries from `first` on. `weights` is null or the head's
// [queries][tokens]. Each step is done for all rows before the next: what waits
// for one row's sum is then hidden behind the work on others.
template <class D, typename Out>
HWY_INLINE void AttendRows(D d, const Head& head, size_t first, size_t rows,
                           float scale, float zero, Out* out, size_t out_stride,
                           float* weights, float* HWY_RESTRICT scores) {
  float factor[kMaxRowsAtOnce];
  ForGroups(rows, [&](auto count, size_t row) HWY_ATTR {
    Scores<count()>(d, head, head.query + (first + row) * head.query_stride,
                    scores + row * head.padded);
  });
  ForGroups(rows, [&](auto count, size_t row) HWY_ATTR {
    ExpRows<count()>(d, head, scores + row * head.padded, factor + row);
  });
  for (size_t r = 0; r < rows; ++r) {
    const float inverse = 1.0f / factor[r];
    factor[r] = inverse * scale;
    if (weights != nullptr) {
      float* to = weights + (first + r) * head.tokens;
      for (size_t j = 0; j < head.tokens; ++j) {
        to[j] = scores[r * head.padded + j] * inverse;
      }
    }
  }
  ForGroups(rows, [&](auto count, size_t row) HWY_ATTR {
    WeightedSum<count()>(d, head, scores + row * head.padded, factor + row,
                         zero, out + (first + row) * out_stride, out_stride);
  });
}

template <class D, typename Out>
void AttendHeads(D d, const AttentionInput& in, float scale, float zero,
                 Out* context, size_t stride, float* weights, float* scratch) {
  const size_t lanes = hn::Lanes(d);
  const size_t padded = hwy::RoundUpTo(in.tokens, lanes);
  float* keys = scratch + kMaxRowsAtOnce * padded;
  // Behind the last token are zeros, for every head.
  for (size_t c = 0; c < in.head_width; ++c) {
    hn::StoreU(hn::Zero(d), d, keys + (c + 1) * padded - lanes);
  }
  for (size_t h = 0; h < in.heads; ++h) {
    const size_t column = h * in.head_width;
    TransposeKeys(in.key + column, in.key_value_stride, in.tokens, padded,
                  in.head_width, keys);
    const Head head = {.query = in.query + column,
                       .query_stride = in.query_stride,
                       .keys = keys,
                       .value = in.value + column,
                       .value_stride = in.key_value_stride,
                       .tokens = in.tokens,
                       .padded = padded,
                       .head_width = in.head_width};
    Out* out = context + column;
    float* head_weights =
        weights == nullptr ? nullptr : weights + h * in.queries * in.tokens;
    for (size_t first = 0; first < in.queries; first += kMaxRowsAtOnce) {
      AttendRows(d, head, first, std::min(kMaxRowsAtOnce, in.queries - first),
                 scale, zero, out, stride, head_weights, scratch);
    }
  }
}

}  // namespace vit::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // MNIST_VIT_MODEL_KERNELS_ATTENTION_INL_H_
