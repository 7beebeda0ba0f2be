#ifndef MNIST_VIT_MODEL_ALIGNED_H_
#define MNIST_VIT_MODEL_ALIGNED_H_

#include <cstddef>
#include <new>
#include <vector>

namespace vit {

// Memory that starts where a cache line does: a vector register's worth of it
// then never lies in two lines, which would cost two accesses.
template <typename T>
struct CacheLineAllocator {
  using value_type = T;
  static constexpr std::align_val_t kCacheLine{64};

  CacheLineAllocator() = default;
  template <typename U>
  explicit CacheLineAllocator(const CacheLineAllocator<U>& /*other*/) {}

  T* allocate(size_t count) {
    return static_cast<T*>(::operator new(count * sizeof(T), kCacheLine));
  }
  void deallocate(T* memory, size_t /*count*/) {
    ::operator delete(memory, kCacheLine);
  }

  friend bool operator==(const CacheLineAllocator& /*left*/,
                         const CacheLineAllocator& /*right*/) {
    return true;
  }
};

template <typename T>
using AlignedVector = std::vector<T, CacheLineAllocator<T>>;

}  // namespace vit

#endif  // MNIST_VIT_MODEL_ALIGNED_H_
