// Self-attention of one image in bytes: both products are of bytes, summed up
// exactly, and the exponential is looked up. Queries of one head go side by
// side, 16 at a time, and what is left of them one by one. Included once for
// every instruction set; empty for those without AVX-512's VNNI and VBMI.

#if defined(MNIST_VIT_MODEL_KERNELS_BYTE_ATTENTION_INL_H_) == \
    defined(HWY_TARGET_TOGGLE)
#ifdef MNIST_VIT_MODEL_KERNELS_BYTE_ATTENTION_INL_H_
#undef MNIST_VIT_MODEL_KERNELS_BYTE_ATTENTION_INL_H_
#else
#define MNIST_VIT_MODEL_KERNELS_BYTE_ATTENTION_INL_H_
#endif

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "hwy/highway.h"
#include "model/kernels.h"
#include "model/kernels_memory-inl.h"

#ifndef MNIST_VIT_MODEL_KERNELS_BYTE_ATTENTION_ONCE
#define MNIST_VIT_MODEL_KERNELS_BYTE_ATTENTION_ONCE
namespace vit::kernels {

// What is looked up: the power of two of a score's distance from the largest,
// in steps of which 255 are enough for it to become zero.
inline constexpr int kPowers = 256;
inline constexpr float kPowerStep = 9.0f / 255.0f;

struct PowerTable {
  PowerTable() {
    for (int i = 0; i < kPowers; ++i) {
      const float power = std::exp2(-kPowerStep * static_cast<float>(i));
      bytes[i] = static_cast<uint8_t>(std::lround(255.0f * power));
    }
  }
  alignas(64) uint8_t bytes[kPowers];
};
inline const PowerTable kPowerTable;

}  // namespace vit::kernels
#endif

#undef VIT_BYTE_ATTENTION
#define VIT_BYTE_ATTENTION (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3_DL)

#if VIT_BYTE_ATTENTION
// Highway 1.0 leaves VNNI out of what it lets the compiler use here.
HWY_PUSH_ATTRIBUTES(HWY_TARGET_STR ",avx512vnni,avx512vbmi")
#else
HWY_BEFORE_NAMESPACE();
#endif
namespace vit::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

#if VIT_BYTE_ATTENTION

// Rows of 16 bytes, four in a vector.
HWY_INLINE __m512i FourRowsOf16(const uint8_t* r0, const uint8_t* r1,
                                const uint8_t* r2, const uint8_t* r3) {
  const auto load = [](const uint8_t* row) HWY_ATTR {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(row));
  };
  __m512i rows = _mm512_castsi128_si512(load(r0));
  rows = _mm512_inserti32x4(rows, load(r1), 1);
  rows = _mm512_inserti32x4(rows, load(r2), 2);
  return _mm512_inserti32x4(rows, load(r3), 3);
}

// The same four bytes in every lane.
HWY_INLINE __m512i FourBytes(const uint8_t* p) {
  int32_t four;
  std::memcpy(&four, p, sizeof(four));
  return _mm512_set1_epi32(four);
}

// A byte with a zero point of 128 as a signed one.
HWY_INLINE __m512i Signed(__m512i bytes) {
  return _mm512_xor_si512(bytes, _mm512_set1_epi8(-128));
}

// Steps below the largest score become bytes 255 * 2^-steps.
struct Powers {
  explicit Powers(float score_step)
      : factor(_mm512_set1_epi16(static_cast<int16_t>(
            std::lround(score_step * (32768.0f / kPowerStep))))),
        t0(_mm512_load_si512(kPowerTable.bytes)),
        t1(_mm512_load_si512(kPowerTable.bytes + 64)),
        t2(_mm512_load_si512(kPowerTable.bytes + 128)),
        t3(_mm512_load_si512(kPowerTable.bytes + 192)) {}

  // Of four vectors of distances; each quarter of the result has its lanes of
  // the first, then of the second and so on.
  HWY_INLINE __m512i operator()(__m512i d0, __m512i d1, __m512i d2,
                                __m512i d3) const {
    const __m512i low = _mm512_mulhrs_epi16(_mm512_packs_epi32(d0, d1), factor);
    const __m512i high =
        _mm512_mulhrs_epi16(_mm512_packs_epi32(d2, d3), factor);
    const __m512i index = _mm512_packus_epi16(low, high);
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(index),
                                  _mm512_permutex2var_epi8(t0, index, t1),
                                  _mm512_permutex2var_epi8(t2, index, t3));
  }

  __m512i factor, t0, t1, t2, t3;
};

// In each quarter, the byte of row i and column j from 4 i + j to 4 j + i.
HWY_INLINE __m512i TransposeQuarters(__m512i bytes) {
  return _mm512_shuffle_epi8(
      bytes, _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2,
                                                  6, 10, 14, 3, 7, 11, 15)));
}

// Where one head's bytes lie while it is computed: all of whole vectors.
struct HeadScratch {
  HeadScratch(const ByteAttentionInput& in, uint8_t* memory)
      : groups((in.tokens + 3) / 4),
        values(memory),
        queries(values + groups * in.head_width * 4),
        scores(reinterpret_cast<int32_t*>(queries + in.head_width * 16)),
        powers(reinterpret_cast<uint8_t*>(scores + groups * 4 * 16)) {}

  size_t groups;     // of four tokens
  uint8_t* values;   // [head_width / 16][groups][16][4]
  uint8_t* queries;  // [head_width / 4][16][4]
  int32_t* scores;   // [groups * 4][16]
  uint8_t* powers;   // [groups][16][4]
};

// Four values of one column side by side; zeros where a token is lacking.
HWY_INLINE void InterleaveValues(const ByteAttentionInput& in,
                                 const uint8_t* value, uint8_t* to) {
  alignas(64) static constexpr std::array<uint8_t, 64> kOrder = [] {
    std::array<uint8_t, 64> order{};
    for (size_t i = 0; i < 64; ++i) {
      order[i] = static_cast<uint8_t>(i % 4 * 16 + i / 4);
    }
    return order;
  }();
  const __m512i order = _mm512_load_si512(kOrder.data());
  const size_t stride = in.key_value_stride;
  for (size_t c = 0; c < in.head_width; c += 16) {
    const uint8_t* from = value + c;
    for (size_t j = 0; j < in.tokens; j += 4) {
      // The last one again: its weight will be zero.
      const size_t last = in.tokens - 1 - j;
      const __m512i rows =
          FourRowsOf16(from, from + std::min<size_t>(1, last) * stride,
                       from + std::min<size_t>(2, last) * stride,
                       from + std::min<size_t>(3, last) * stride);
      _mm512_storeu_si512(to, Signed(_mm512_permutexvar_epi8(order, rows)));
      from += 4 * stride;
      to += 64;
    }
  }
}

// to[c][r] = row r's four bytes from 4 c on.
HWY_INLINE void InterleaveQueries(const uint8_t* query, size_t stride,
                                  size_t count, size_t width, uint8_t* to) {
  // Lane l of vector i is row 4 l + i.
  const auto rows = [&](size_t i, size_t c) HWY_ATTR {
    const auto at = [&](size_t r) {
      return query + std::min(r, count - 1) * stride + c;
    };
    return Signed(FourRowsOf16(at(i), at(4 + i), at(8 + i), at(12 + i)));
  };
  for (size_t c = 0; c < width; c += 16) {
    const __m512i r0 = rows(0, c), r1 = rows(1, c);
    const __m512i r2 = rows(2, c), r3 = rows(3, c);
    const __m512i low01 = _mm512_unpacklo_epi32(r0, r1);
    const __m512i low23 = _mm512_unpacklo_epi32(r2, r3);
    const __m512i high01 = _mm512_unpackhi_epi32(r0, r1);
    const __m512i high23 = _mm512_unpackhi_epi32(r2, r3);
    _mm512_storeu_si512(to, _mm512_unpacklo_epi64(low01, low23));
    _mm512_storeu_si512(to + 64, _mm512_unpackhi_epi64(low01, low23));
    _mm512_storeu_si512(to + 128, _mm512_unpacklo_epi64(high01, high23));
    _mm512_storeu_si512(to + 192, _mm512_unpackhi_epi64(high01, high23));
    to += 256;
  }
}

// Scores of 16 queries with all keys, with as few as a score can be where a
// token is lacking. Returns the largest of each query.
HWY_INLINE __m512i ByteScores(const ByteAttentionInput& in, const uint8_t* key,
                              const HeadScratch& head) {
  constexpr int32_t kLeast = -(1 << 30);
  const size_t stride = in.key_value_stride;
  __m512i largest = _mm512_set1_epi32(kLeast);
  int32_t* to = head.scores;
  const auto put = [&](__m512i sum) HWY_ATTR {
    largest = _mm512_max_epi32(largest, sum);
    _mm512_storeu_si512(to, sum);
    to += 16;
  };
  size_t j = 0;
  for (; j + 4 <= in.tokens; j += 4) {
    __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0;
    const uint8_t* k = key + j * stride;
    const uint8_t* q = head.queries;
    for (size_t c = 0; c < in.head_width; c += 4, q += 64) {
      const __m512i x = _mm512_loadu_si512(q);
      s0 = _mm512_dpbusd_epi32(s0, FourBytes(k + c), x);
      s1 = _mm512_dpbusd_epi32(s1, FourBytes(k + stride + c), x);
      s2 = _mm512_dpbusd_epi32(s2, FourBytes(k + 2 * stride + c), x);
      s3 = _mm512_dpbusd_epi32(s3, FourBytes(k + 3 * stride + c), x);
    }
    put(s0);
    put(s1);
    put(s2);
    put(s3);
  }
  for (; j < in.tokens; ++j) {
    __m512i sum = _mm512_setzero_si512();
    const uint8_t* k = key + j * stride;
    for (size_t c = 0; c < in.head_width; c += 4) {
      sum = _mm512_dpbusd_epi32(sum, FourBytes(k + c),
                                _mm512_loadu_si512(head.queries + 16 * c));
    }
    put(sum);
  }
  for (; j < 4 * head.groups; ++j) {
    _mm512_storeu_si512(to, _mm512_set1_epi32(kLeast));
    to += 16;
  }
  return largest;
}

// The values' sum of 16 columns, weighted by kRows rows, whose weights of four
// tokens are at weights[group * step + 4 * row].
template <size_t kRows>
HWY_NOINLINE void WeightedBytes(size_t groups, const uint8_t* values,
                                const uint8_t* weights, size_t step,
                                const float* factor, float zero, uint8_t* out,
                                size_t out_stride) {
  static_assert(kRows == 1 || kRows == 4 || kRows == 8);
  // Variables with names: those of an array would live in memory.
  __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0;
  __m512i s4 = s0, s5 = s0, s6 = s0, s7 = s0;
  for (size_t g = 0; g < groups; ++g) {
    const __m512i x = _mm512_loadu_si512(values);
    const auto add = [&](__m512i sum, size_t r) HWY_ATTR {
      return _mm512_dpbusd_epi32(sum, FourBytes(weights + 4 * r), x);
    };
    s0 = add(s0, 0);
    if constexpr (kRows > 1) {
      s1 = add(s1, 1);
      s2 = add(s2, 2);
      s3 = add(s3, 3);
    }
    if constexpr (kRows > 4) {
      s4 = add(s4, 4);
      s5 = add(s5, 5);
      s6 = add(s6, 6);
      s7 = add(s7, 7);
    }
    values += 64;
    weights += step;
  }
  const auto put = [&](__m512i sum, size_t r) HWY_ATTR {
    const hn::FixedTag<float, 16> d;
    const hn::Vec<decltype(d)> y = {_mm512_cvtepi32_ps(sum)};
    Put(d, hn::MulAdd(y, hn::Set(d, factor[r]), hn::Set(d, zero)),
        out + r * out_stride);
  };
  put(s0, 0);
  if constexpr (kRows > 1) {
    put(s1, 1);
    put(s2, 2);
    put(s3, 3);
  }
  if constexpr (kRows > 4) {
    put(s4, 4);
    put(s5, 5);
    put(s6, 6);
    put(s7, 7);
  }
}

// `count` queries of head h from `first` on, at most 16.
HWY_INLINE void AttendBytes(const ByteAttentionInput& in, size_t h,
                            size_t first, size_t count, const Powers& powers,
                            const Answer<uint8_t>& answer,
                            const HeadScratch& head) {
  const size_t column = h * in.head_width;
  InterleaveQueries(in.query + first * in.query_stride + column,
                    in.query_stride, count, in.head_width, head.queries);
  const __m512i largest = ByteScores(in, in.key + column, head);
  __m512i sum = _mm512_setzero_si512();
  for (size_t g = 0; g < head.groups; ++g) {
    const auto below = [&](size_t i) HWY_ATTR {
      return _mm512_sub_epi32(
          largest, _mm512_loadu_si512(head.scores + (4 * g + i) * 16));
    };
    const __m512i e =
        TransposeQuarters(powers(below(0), below(1), below(2), below(3)));
    _mm512_storeu_si512(head.powers + 64 * g, e);
    sum = _mm512_dpbusd_epi32(sum, e, _mm512_set1_epi8(1));
  }
  const hn::FixedTag<float, 16> d;
  const auto inverse =
      hn::Div(hn::Set(d, 1.0f), hn::Vec<decltype(d)>{_mm512_cvtepi32_ps(sum)});
  alignas(64) float factor[16];
  if (answer.weights != nullptr) {
    hn::Store(inverse, d, factor);
    float* to = answer.weights + (h * in.queries + first) * in.tokens;
    for (size_t r = 0; r < count; ++r) {
      for (size_t j = 0; j < in.tokens; ++j) {
        const uint8_t weight = head.powers[j / 4 * 64 + r * 4 + j % 4];
        *to++ = static_cast<float>(weight) * factor[r];
      }
    }
  }
  hn::Store(hn::Mul(inverse, hn::Set(d, answer.scale * in.value_step)), d,
            factor);
  uint8_t* out = answer.context + first * answer.stride + column;
  for (size_t c = 0; c < in.head_width; c += 16) {
    size_t r = 0;
    const auto rows = [&](auto n) HWY_ATTR {
      WeightedBytes<n()>(head.groups, head.values + c * head.groups * 4,
                         head.powers + 4 * r, 64, factor + r, answer.zero,
                         out + r * answer.stride + c, answer.stride);
      r += n();
    };
    while (r + 8 <= count) rows(RowCount<8>());
    if (r + 4 <= count) rows(RowCount<4>());
    while (r < count) rows(RowCount<1>());
  }
}

// The four quarters' first lanes, in the first quarter and in the last of the
// others.
HWY_INLINE __m512i FirstOfQuarters(__m512i v) {
  return _mm512_permutexvar_epi32(
      _mm512_setr_epi32(0, 4, 8, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12, 12,
                        12),
      v);
}

// One query's scores with 16 keys from `first` on, or with four if no more are
// left; for each that is lacking that of the last key.
HWY_INLINE __m512i ScoresOfOne(const ByteAttentionInput& in,
                               const uint8_t* query, const uint8_t* key,
                               size_t first) {
  const size_t left = in.tokens - first;
  const size_t stride = in.key_value_stride;
  key += first * stride;
  const auto four = [&](__m512i sum, size_t c, size_t j, size_t step) HWY_ATTR {
    const auto at = [&](size_t r) {
      return key + std::min(r, left - 1) * stride + c;
    };
    const __m512i x = Signed(_mm512_broadcast_i32x4(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(query + c))));
    return _mm512_dpbusd_epi32(
        sum,
        FourRowsOf16(at(j), at(j + step), at(j + 2 * step), at(j + 3 * step)),
        x);
  };
  __m512i s0 = _mm512_setzero_si512(), s1 = s0, s2 = s0, s3 = s0;
  if (left <= 4) {
    for (size_t c = 0; c < in.head_width; c += 16) s0 = four(s0, c, 0, 1);
    s0 = _mm512_add_epi32(s0, _mm512_shuffle_epi32(s0, _MM_PERM_BADC));
    s0 = _mm512_add_epi32(s0, _mm512_shuffle_epi32(s0, _MM_PERM_CDAB));
    return FirstOfQuarters(s0);
  }
  // Quarter l of vector i is of key 4 l + i.
  for (size_t c = 0; c < in.head_width; c += 16) {
    s0 = four(s0, c, 0, 4);
    s1 = four(s1, c, 1, 4);
    s2 = four(s2, c, 2, 4);
    s3 = four(s3, c, 3, 4);
  }
  const __m512i s01 = _mm512_add_epi32(_mm512_unpacklo_epi32(s0, s1),
                                       _mm512_unpackhi_epi32(s0, s1));
  const __m512i s23 = _mm512_add_epi32(_mm512_unpacklo_epi32(s2, s3),
                                       _mm512_unpackhi_epi32(s2, s3));
  return _mm512_add_epi32(_mm512_unpacklo_epi64(s01, s23),
                          _mm512_unpackhi_epi64(s01, s23));
}

// Query q of head h.
HWY_INLINE void AttendOneInBytes(const ByteAttentionInput& in, size_t h,
                                 size_t q, const Powers& powers,
                                 const Answer<uint8_t>& answer,
                                 const HeadScratch& head) {
  const size_t column = h * in.head_width;
  const uint8_t* query = in.query + q * in.query_stride + column;
  const uint8_t* key = in.key + column;
  __m512i largest = _mm512_set1_epi32(-(1 << 30));
  for (size_t j = 0; j < in.tokens; j += 16) {
    const __m512i scores = ScoresOfOne(in, query, key, j);
    largest = _mm512_max_epi32(largest, scores);
    _mm512_storeu_si512(head.scores + j, scores);
  }
  largest = _mm512_set1_epi32(_mm512_reduce_max_epi32(largest));
  __m512i sum = _mm512_setzero_si512();
  const __m512i zero = sum;
  for (size_t j = 0; j < in.tokens; j += 16) {
    const __m512i below =
        _mm512_sub_epi32(largest, _mm512_loadu_si512(head.scores + j));
    // The first four bytes of each quarter.
    const __m512i e = powers(below, zero, zero, zero);
    const size_t left = std::min<size_t>(16, in.tokens - j);
    const __m128i bytes =
        _mm_maskz_mov_epi8(static_cast<__mmask16>((1u << left) - 1),
                           _mm512_castsi512_si128(FirstOfQuarters(e)));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(head.powers + j), bytes);
    sum = _mm512_dpbusd_epi32(sum, _mm512_zextsi128_si512(bytes),
                              _mm512_set1_epi8(1));
  }
  const float inverse = 1.0f / static_cast<float>(_mm512_reduce_add_epi32(sum));
  if (answer.weights != nullptr) {
    float* to = answer.weights + (h * in.queries + q) * in.tokens;
    for (size_t j = 0; j < in.tokens; ++j) {
      to[j] = static_cast<float>(head.powers[j]) * inverse;
    }
  }
  const float factor = inverse * (answer.scale * in.value_step);
  for (size_t c = 0; c < in.head_width; c += 16) {
    WeightedBytes<1>(head.groups, head.values + c * head.groups * 4,
                     head.powers, 4, &factor, answer.zero,
                     answer.context + q * answer.stride + column + c, 0);
  }
}

void AttendInBytes(const ByteAttentionInput& in, float scale, float zero,
                   uint8_t* context, size_t stride, float* weights,
                   float* scratch) {
  const Answer<uint8_t> answer = {context, stride, scale, zero, weights};
  const Powers powers(in.score_step);
  const HeadScratch head(in, reinterpret_cast<uint8_t*>(scratch));
  for (size_t h = 0; h < in.heads; ++h) {
    InterleaveValues(in, in.value + h * in.head_width, head.values);
    size_t q = 0;
    // Few queries one by one are quicker than a vector with few in use.
    while (in.queries - q > 3) {
      const size_t count = std::min<size_t>(16, in.queries - q);
      AttendBytes(in, h, q, count, powers, answer, head);
      q += count;
    }
    for (; q < in.queries; ++q) {
      AttendOneInBytes(in, h, q, powers, answer, head);
    }
  }
}
#else
void AttendInBytes(const ByteAttentionInput&, float, float, uint8_t*, size_t,
                   float*, float*) {}
#endif

bool HasAttentionInBytes() { return VIT_BYTE_ATTENTION != 0; }

}  // namespace vit::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // MNIST_VIT_MODEL_KERNELS_BYTE_ATTENTION_INL_H_
