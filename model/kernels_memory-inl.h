// What lies between memory and registers: parts of vectors, and results as they
// are, rounded or quantised to bytes. Included once for every instruction set.

#if defined(MNIST_VIT_MODEL_KERNELS_MEMORY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MNIST_VIT_MODEL_KERNELS_MEMORY_INL_H_
#undef MNIST_VIT_MODEL_KERNELS_MEMORY_INL_H_
#else
#define MNIST_VIT_MODEL_KERNELS_MEMORY_INL_H_
#endif

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "hwy/highway.h"
#include "model/kernels.h"

HWY_BEFORE_NAMESPACE();
namespace vit::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// A number of rows that is part of a type.
template <size_t kCount>
using RowCount = std::integral_constant<size_t, kCount>;

// Calls work(RowCount<count>()) for a count of 1 to kMost; not for others.
template <size_t kMost, class Work>
HWY_INLINE void WithCount(size_t count, const Work& work) {
  if constexpr (kMost > 0) {
    if (count == kMost) return work(RowCount<kMost>());
    WithCount<kMost - 1>(count, work);
  }
}

// The first `count` lanes from `p`, zeros behind them. Where a masked load
// would read the rest too, it goes through a copy: there may be no rest.
template <class D>
HWY_INLINE hn::Vec<D> LoadFirst(D d, const float* p, size_t count) {
#if HWY_TARGET == HWY_AVX2 || !HWY_MEM_OPS_MIGHT_FAULT
  return hn::MaskedLoad(hn::FirstN(d, count), d, p);
#else
  HWY_ALIGN float all[hn::MaxLanes(d)] = {};
  for (size_t i = 0; i < count; ++i) all[i] = p[i];
  return hn::Load(d, all);
#endif
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE void Put(D d, V v, float* p) {
  hn::StoreU(v, d, p);
}

// The nearest of 0..255.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void Put(D d, V v, uint8_t* p) {
  const hn::Rebind<uint8_t, D> bytes;
  (void)d;
  hn::StoreU(hn::DemoteTo(bytes, hn::NearestInt(v)), bytes, p);
}

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
HWY_INLINE void Put(hn::FixedTag<float, 16>, hn::Vec512<float> v, uint8_t* p) {
  const __m512i rounded =
      _mm512_max_epi32(_mm512_cvtps_epi32(v.raw), _mm512_setzero_si512());
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm512_cvtusepi32_epi8(rounded));
}
#endif

// The nearest, as ToBFloat16.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void Put(D d, V v, BFloat16* p) {
  const hn::RebindToUnsigned<D> words;
  const hn::RebindToSigned<D> integers;
  const hn::Rebind<uint16_t, D> halves;
  (void)d;
  const auto rounded = hn::Add(hn::BitCast(words, v), hn::Set(words, 0x8000));
  const auto upper = hn::BitCast(integers, hn::ShiftRight<16>(rounded));
  hn::StoreU(hn::DemoteTo(halves, upper), halves,
             reinterpret_cast<uint16_t*>(p));
}

// Four vectors, one behind the other.
template <class D, class V = hn::Vec<D>, typename Out>
HWY_INLINE void PutFour(D d, V v0, V v1, V v2, V v3, Out* p) {
  const size_t lanes = hn::Lanes(d);
  Put(d, v0, p);
  Put(d, v1, p + lanes);
  Put(d, v2, p + 2 * lanes);
  Put(d, v3, p + 3 * lanes);
}

#if HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX3
// As bytes they fill one vector.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void PutFour(D, V v0, V v1, V v2, V v3, uint8_t* p) {
  // Packing goes on within each quarter of a vector: what lies at 4 k + q then
  // belongs to 4 q + k.
  const __m512i order =
      _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i low = _mm512_packs_epi32(_mm512_cvtps_epi32(v0.raw),
                                         _mm512_cvtps_epi32(v1.raw));
  const __m512i high = _mm512_packs_epi32(_mm512_cvtps_epi32(v2.raw),
                                          _mm512_cvtps_epi32(v3.raw));
  _mm512_storeu_si512(
      p, _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high)));
}

// As BFloat16 two of them do.
template <class D, class V = hn::Vec<D>>
HWY_INLINE void PutFour(D, V v0, V v1, V v2, V v3, BFloat16* p) {
  static constexpr auto kUpperHalves = [] {
    std::array<uint16_t, 32> halves = {};
    for (uint16_t i = 0; i < 32; ++i) halves[i] = 2 * i + 1;
    return halves;
  }();
  const __m512i order = _mm512_loadu_si512(kUpperHalves.data());
  const __m512i half = _mm512_set1_epi32(0x8000);
  const auto put = [&](V low, V high, BFloat16* to) HWY_ATTR {
    _mm512_storeu_si512(
        to, _mm512_permutex2var_epi16(
                _mm512_add_epi32(_mm512_castps_si512(low.raw), half), order,
                _mm512_add_epi32(_mm512_castps_si512(high.raw), half)));
  };
  put(v0, v1, p);
  put(v2, v3, p + 32);
}
#endif

// The first `count` lanes.
template <class D, class V = hn::Vec<D>, typename Out>
HWY_INLINE void PutFirst(D d, V v, size_t count, Out* p) {
  HWY_ALIGN Out all[hn::MaxLanes(d)];
  Put(d, v, all);
  for (size_t i = 0; i < count; ++i) p[i] = all[i];
}

}  // namespace vit::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // MNIST_VIT_MODEL_KERNELS_MEMORY_INL_H_
