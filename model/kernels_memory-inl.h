// What lies between memory and registers: parts of vectors, and results as they
// are or quantised to bytes. Included once for every instruction set.

#if defined(MNIST_VIT_MODEL_KERNELS_MEMORY_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef MNIST_VIT_MODEL_KERNELS_MEMORY_INL_H_
#undef MNIST_VIT_MODEL_KERNELS_MEMORY_INL_H_
#else
#define MNIST_VIT_MODEL_KERNELS_MEMORY_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace vit::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

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
