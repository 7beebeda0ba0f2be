// Self-attention of one image. A vector of queries of one head goes side by
// side, a lane for each: keys and values are then the same for all lanes and
// come from where they are, and nothing is summed up across lanes. What is left
// of the queries, often one, goes one by one, the lanes being keys. Included
// once for every instruction set.

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

HWY_BEFORE_NAMESPACE();
namespace vit::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// 2^x for x <= 0: 2^n times a polynomial of least relative error (7.5e-8) for
// 2^f, with |f| <= 1/2. Below -126 it stays at the least normal number.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V PowerOfTwo(D d, V x) {
  constexpr int kMantissaBits = 23;
  // Added to a small number, it leaves the nearest integer in the lowest bits.
  const V round = hn::Set(d, 1.5f * (1 << kMantissaBits));
  const V least = hn::Max(x, hn::Set(d, -126.0f));
  const V rounded = hn::Add(least, round);
  const V f = hn::Sub(least, hn::Sub(rounded, round));
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

// Where results go: context c as c * scale + zero, and the softmax if wanted.
template <typename Out>
struct Answer {
  Out* context;  // [queries][heads * head_width]
  size_t stride;
  float scale, zero;
  float* weights;  // null or [heads][queries][tokens]
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

// columns[c][r] = rows[r][c] of `count` rows, a column taking `column_size`.
HWY_INLINE void Transpose(const float* HWY_RESTRICT rows, size_t stride,
                          size_t count, size_t width, size_t column_size,
                          float* HWY_RESTRICT columns) {
  size_t whole_rows = 0;
  size_t whole_columns = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::CappedTag<float, 4> four;
  whole_rows = count / 4 * 4;
  whole_columns = width / 4 * 4;
  for (size_t c = 0; c < whole_columns; c += 4) {
    for (size_t r = 0; r < whole_rows; r += 4) {
      Transpose4x4(four, rows + r * stride + c, stride,
                   columns + c * column_size + r, column_size);
    }
  }
#endif
  for (size_t c = 0; c < width; ++c) {
    const size_t first = c < whole_columns ? whole_rows : 0;
    for (size_t r = first; r < count; ++r) {
      columns[c * column_size + r] = rows[r * stride + c];
    }
  }
}

// Scores of a vector of queries, `queries` being [width][Lanes], with kKeys
// keys, at scores[key][lane]. Returns the largest of each lane's and `largest`.
template <size_t kKeys, class D, class V = hn::Vec<D>>
HWY_INLINE V ScoreKeys(D d, const float* HWY_RESTRICT queries, size_t width,
                       const float* HWY_RESTRICT key, size_t stride, V largest,
                       float* HWY_RESTRICT scores) {
  const size_t lanes = hn::Lanes(d);
  // Variables with names: those of an array would live in memory.
  V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0;
  for (size_t c = 0; c < width; ++c) {
    const V q = hn::LoadU(d, queries + c * lanes);
    const auto add = [&](V sum, size_t j) HWY_ATTR {
      return hn::MulAdd(q, hn::Set(d, key[j * stride + c]), sum);
    };
    s0 = add(s0, 0);
    if constexpr (kKeys > 1) s1 = add(s1, 1);
    if constexpr (kKeys > 2) s2 = add(s2, 2);
    if constexpr (kKeys > 3) s3 = add(s3, 3);
    if constexpr (kKeys > 4) s4 = add(s4, 4);
    if constexpr (kKeys > 5) s5 = add(s5, 5);
  }
  const auto put = [&](V sum, size_t j) HWY_ATTR {
    largest = hn::Max(largest, sum);
    hn::StoreU(sum, d, scores + j * lanes);
  };
  put(s0, 0);
  if constexpr (kKeys > 1) put(s1, 1);
  if constexpr (kKeys > 2) put(s2, 2);
  if constexpr (kKeys > 3) put(s3, 3);
  if constexpr (kKeys > 4) put(s4, 4);
  if constexpr (kKeys > 5) put(s5, 5);
  return largest;
}

// The same with all `tokens` keys.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Scores(D d, const AttentionInput& in, const float* queries,
                    const float* key, float* HWY_RESTRICT scores) {
  V largest = hn::Set(d, hwy::LowestValue<float>());
  size_t left = in.tokens;
  const auto next = [&](auto keys) HWY_ATTR {
    largest = ScoreKeys<keys()>(d, queries, in.head_width, key,
                                in.key_value_stride, largest, scores);
    left -= keys();
    key += keys() * in.key_value_stride;
    scores += keys() * hn::Lanes(d);
  };
  while (left >= 6) next(RowCount<6>());
  // Not in parts: the chain of one key's sums takes as long as those of five.
  WithCount<5>(left, next);
  return largest;
}

// A vector of each of four rows.
template <class V>
struct FourRows {
  V a, b, c, d;
};

// Columns [first, first + Lanes) of the values' sum, weighted by kRows rows, as
// far as the head goes; times factor[r], plus `zero`. Row r's weight of token j
// is weights[j][r].
template <size_t kRows, class D, typename Out>
HWY_NOINLINE void WeightedRows(D d, const AttentionInput& in,
                               const float* HWY_RESTRICT value,
                               const float* HWY_RESTRICT weights,
                               const float* factor, float zero, size_t first,
                               Out* out, size_t out_stride) {
  static_assert(kRows == 1 || kRows == 4 || kRows == 8);
  using V = hn::Vec<D>;
  const size_t lanes = hn::Lanes(d);
  const size_t tokens = in.tokens;
  const size_t stride = in.key_value_stride;
  const size_t left = in.head_width - first;
  const bool whole = lanes <= left;
  const V none = hn::Zero(d);
  FourRows<V> low = {none, none, none, none};
  FourRows<V> high = low;
  value += first;
  for (size_t j = 0; j < tokens; ++j) {
    const V x = whole ? hn::LoadU(d, value) : LoadFirst(d, value, left);
    const auto add = [&](V sum, size_t r) HWY_ATTR {
      return hn::MulAdd(hn::Set(d, weights[r]), x, sum);
    };
    low.a = add(low.a, 0);
    if constexpr (kRows > 1) {
      low.b = add(low.b, 1);
      low.c = add(low.c, 2);
      low.d = add(low.d, 3);
    }
    if constexpr (kRows > 4) {
      high.a = add(high.a, 4);
      high.b = add(high.b, 5);
      high.c = add(high.c, 6);
      high.d = add(high.d, 7);
    }
    value += stride;
    weights += lanes;
  }
  const auto put = [&](V sum, size_t r) HWY_ATTR {
    const V y = hn::MulAdd(sum, hn::Set(d, factor[r]), hn::Set(d, zero));
    Out* to = out + r * out_stride + first;
    if (whole) {
      Put(d, y, to);
    } else {
      PutFirst(d, y, left, to);
    }
  };
  put(low.a, 0);
  if constexpr (kRows > 1) {
    put(low.b, 1);
    put(low.c, 2);
    put(low.d, 3);
  }
  if constexpr (kRows > 4) {
    put(high.a, 4);
    put(high.b, 5);
    put(high.c, 6);
    put(high.d, 7);
  }
}

// `count` queries of one head from `first` on, at most a vector of them.
template <class D, typename Out>
HWY_INLINE void AttendVector(D d, const AttentionInput& in, size_t h,
                             size_t first, size_t count,
                             const Answer<Out>& answer,
                             float* HWY_RESTRICT scratch) {
  const size_t lanes = hn::Lanes(d);
  const size_t column = h * in.head_width;
  float* queries = scratch;
  float* scores = scratch + in.head_width * lanes;
  if (count < lanes) {
    for (size_t c = 0; c < in.head_width; ++c) {
      hn::StoreU(hn::Zero(d), d, queries + c * lanes);
    }
  }
  Transpose(in.query + first * in.query_stride + column, in.query_stride, count,
            in.head_width, lanes, queries);
  const auto largest = Scores(d, in, queries, in.key + column, scores);
  auto sum = hn::Zero(d);
  for (size_t j = 0; j < in.tokens; ++j) {
    float* at = scores + j * lanes;
    const auto e = PowerOfTwo(d, hn::Sub(hn::LoadU(d, at), largest));
    hn::StoreU(e, d, at);
    sum = hn::Add(sum, e);
  }
  const auto inverse = hn::Div(hn::Set(d, 1.0f), sum);
  HWY_ALIGN float factor[hn::MaxLanes(d)];
  if (answer.weights != nullptr) {
    hn::Store(inverse, d, factor);
    float* to = answer.weights + (h * in.queries + first) * in.tokens;
    for (size_t r = 0; r < count; ++r) {
      for (size_t j = 0; j < in.tokens; ++j) {
        *to++ = scores[j * lanes + r] * factor[r];
      }
    }
  }
  hn::Store(hn::Mul(inverse, hn::Set(d, answer.scale)), d, factor);
  Out* out = answer.context + first * answer.stride + column;
  for (size_t c = 0; c < in.head_width; c += lanes) {
    size_t r = 0;
    const auto rows = [&](auto n) HWY_ATTR {
      WeightedRows<n()>(d, in, in.value + column, scores + r, factor + r,
                        answer.zero, c, out + r * answer.stride, answer.stride);
      r += n();
    };
    while (r + 8 <= count) rows(RowCount<8>());
    if (r + 4 <= count) rows(RowCount<4>());
    while (r < count) rows(RowCount<1>());
  }
}

#if HWY_TARGET != HWY_SCALAR && !HWY_HAVE_SCALABLE
// Lane i is the sum of the lanes of product(first + i); kCount is the number of
// lanes.
template <size_t kCount, class D, class Product>
HWY_INLINE hn::Vec<D> SumsOf(D d, const Product& product, size_t first) {
  if constexpr (kCount == 1) {
    return product(first);
  } else {
    const auto low = SumsOf<kCount / 2>(d, product, first);
    const auto high = SumsOf<kCount / 2>(d, product, first + kCount / 2);
    return hn::Add(hn::ConcatEven(d, high, low), hn::ConcatOdd(d, high, low));
  }
}
#endif

// All keys' scores, the lanes of product(key) being what is to be summed up.
template <class D, class Product>
HWY_INLINE void ScoresOf(D d, size_t tokens, const Product& product,
                         float* HWY_RESTRICT scores) {
  size_t j = 0;
#if HWY_TARGET != HWY_SCALAR && !HWY_HAVE_SCALABLE
  constexpr size_t kLanes = hn::MaxLanes(D());
  for (; j + kLanes <= tokens; j += kLanes) {
    hn::StoreU(SumsOf<kLanes>(d, product, j), d, scores + j);
  }
  if (tokens - j > kLanes / 4) {
    // The last key once more for each that is lacking.
    const auto clamped = [&](size_t i) HWY_ATTR {
      return product(std::min(i, tokens - 1));
    };
    hn::StoreU(SumsOf<kLanes>(d, clamped, j), d, scores + j);
    return;
  }
#endif
  for (; j < tokens; ++j) {
    scores[j] = hn::GetLane(hn::SumOfLanes(d, product(j)));
  }
}

// One query's scores with all keys of a head.
template <class D>
HWY_INLINE void ScoreRow(D d, const AttentionInput& in, const float* query,
                         const float* key, float* HWY_RESTRICT scores) {
  const size_t lanes = hn::Lanes(d);
  const size_t width = in.head_width;
  const size_t stride = in.key_value_stride;
  if (width == lanes) {
    const auto q = hn::LoadU(d, query);
    const auto product = [&](size_t j) HWY_ATTR {
      return hn::Mul(q, hn::LoadU(d, key + j * stride));
    };
    ScoresOf(d, in.tokens, product, scores);
    return;
  }
  const size_t whole = width / lanes * lanes;
  const auto product = [&](size_t j) HWY_ATTR {
    const float* k = key + j * stride;
    auto sum = hn::Zero(d);
    for (size_t c = 0; c < whole; c += lanes) {
      sum = hn::MulAdd(hn::LoadU(d, query + c), hn::LoadU(d, k + c), sum);
    }
    if (whole == width) return sum;
    return hn::MulAdd(LoadFirst(d, query + whole, width - whole),
                      LoadFirst(d, k + whole, width - whole), sum);
  };
  ScoresOf(d, in.tokens, product, scores);
}

// kRows rows of scores to 2^(score - largest of the row), zero behind the last
// token; sums[r] becomes the sum of row r. Rows go side by side, for the chains
// of operations of one are long.
template <size_t kRows, class D>
HWY_INLINE void ExpRows(D d, size_t tokens, size_t padded,
                        float* HWY_RESTRICT rows, float* HWY_RESTRICT sums) {
  using V = hn::Vec<D>;
  const size_t lanes = hn::Lanes(d);
  const size_t whole = tokens / lanes * lanes;
  const auto present = hn::FirstN(d, tokens - whole);
  const V lowest = hn::Set(d, hwy::LowestValue<float>());
  V largest[kRows];
  for (size_t r = 0; r < kRows; ++r) largest[r] = lowest;
  for (size_t j = 0; j < whole; j += lanes) {
    for (size_t r = 0; r < kRows; ++r) {
      largest[r] = hn::Max(largest[r], hn::LoadU(d, rows + r * padded + j));
    }
  }
  if (whole < tokens) {
    for (size_t r = 0; r < kRows; ++r) {
      const V last = hn::LoadU(d, rows + r * padded + whole);
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
      float* at = rows + r * padded + j;
      const V e = PowerOfTwo(d, hn::Sub(hn::LoadU(d, at), largest[r]));
      hn::StoreU(e, d, at);
      sum[r] = hn::Add(sum[r], e);
    }
  }
  if (whole < tokens) {
    for (size_t r = 0; r < kRows; ++r) {
      float* at = rows + r * padded + whole;
      const V e = hn::IfThenElseZero(
          present, PowerOfTwo(d, hn::Sub(hn::LoadU(d, at), largest[r])));
      hn::StoreU(e, d, at);
      sum[r] = hn::Add(sum[r], e);
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    sums[r] = hn::GetLane(hn::SumOfLanes(d, sum[r]));
  }
}

// The values' sum of kHeads heads, weighted by a row for each; times
// factor[h], plus `zero`.
template <size_t kHeads, class D, typename Out>
HWY_INLINE void WeightedHeads(D d, const AttentionInput& in, const float* value,
                              const float* HWY_RESTRICT weights, size_t padded,
                              const float* factor, float zero, Out* out) {
  using V = hn::Vec<D>;
  const size_t width = in.head_width;
  for (size_t c = 0; c < width; c += hn::Lanes(d)) {
    const size_t left = width - c;
    const bool whole = hn::Lanes(d) <= left;
    const float* from = value + c;
    V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
    for (size_t j = 0; j < in.tokens; ++j, from += in.key_value_stride) {
      const auto add = [&](V sum, size_t h) HWY_ATTR {
        const float* x = from + h * width;
        return hn::MulAdd(hn::Set(d, weights[h * padded + j]),
                          whole ? hn::LoadU(d, x) : LoadFirst(d, x, left), sum);
      };
      s0 = add(s0, 0);
      if constexpr (kHeads > 1) s1 = add(s1, 1);
      if constexpr (kHeads > 2) s2 = add(s2, 2);
      if constexpr (kHeads > 3) s3 = add(s3, 3);
    }
    const auto put = [&](V sum, size_t h) HWY_ATTR {
      const V y = hn::MulAdd(sum, hn::Set(d, factor[h]), hn::Set(d, zero));
      Out* to = out + h * width + c;
      if (whole) {
        Put(d, y, to);
      } else {
        PutFirst(d, y, left, to);
      }
    };
    put(s0, 0);
    if constexpr (kHeads > 1) put(s1, 1);
    if constexpr (kHeads > 2) put(s2, 2);
    if constexpr (kHeads > 3) put(s3, 3);
  }
}

// Query q of kHeads heads from `h` on.
template <size_t kHeads, class D, typename Out>
HWY_INLINE void AttendHeads(D d, const AttentionInput& in, size_t h, size_t q,
                            const Answer<Out>& answer,
                            float* HWY_RESTRICT rows) {
  const size_t padded = hwy::RoundUpTo(in.tokens, hn::Lanes(d));
  const size_t column = h * in.head_width;
  for (size_t i = 0; i < kHeads; ++i) {
    const size_t at = column + i * in.head_width;
    ScoreRow(d, in, in.query + q * in.query_stride + at, in.key + at,
             rows + i * padded);
  }
  float factor[kHeads];
  ExpRows<kHeads>(d, in.tokens, padded, rows, factor);
  for (size_t i = 0; i < kHeads; ++i) {
    const float inverse = 1.0f / factor[i];
    factor[i] = inverse * answer.scale;
    if (answer.weights != nullptr) {
      float* to = answer.weights + ((h + i) * in.queries + q) * in.tokens;
      for (size_t j = 0; j < in.tokens; ++j) {
        to[j] = rows[i * padded + j] * inverse;
      }
    }
  }
  WeightedHeads<kHeads>(d, in, in.value + column, rows, padded, factor,
                        answer.zero,
                        answer.context + q * answer.stride + column);
}

template <class D, typename Out>
void AttendAll(D d, const AttentionInput& in, const Answer<Out>& answer,
               float* scratch) {
  const size_t lanes = hn::Lanes(d);
  size_t q = 0;
  // Few queries one by one are quicker than a vector with few lanes in use.
  while (in.queries - q > lanes / 4) {
    const size_t count = std::min(lanes, in.queries - q);
    for (size_t h = 0; h < in.heads; ++h) {
      AttendVector(d, in, h, q, count, answer, scratch);
    }
    q += count;
  }
  for (; q < in.queries; ++q) {
    size_t h = 0;
    const auto heads = [&](auto n) HWY_ATTR {
      AttendHeads<n()>(d, in, h, q, answer, scratch);
      h += n();
    };
    while (h + 4 <= in.heads) heads(RowCount<4>());
    if (h + 2 <= in.heads) heads(RowCount<2>());
    if (h < in.heads) heads(RowCount<1>());
  }
}

}  // namespace vit::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // MNIST_VIT_MODEL_KERNELS_ATTENTION_INL_H_
