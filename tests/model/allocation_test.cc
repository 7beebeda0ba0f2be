// That a batch allocates no buffer, seen by the replaced operator new of this
// program.

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "model/aligned.h"
#include "model/engine.h"
#include "tests/model/model_builder.h"

namespace {

// oneDNN makes lists of a primitive's few arguments at each call, which is its
// own affair; anything larger would be a buffer.
constexpr size_t kBuffer = 4096;
thread_local size_t buffers_allocated = 0;

}  // namespace

// Never inlined: where only one of a pair is, a compiler takes the pair for a
// mismatch.
[[gnu::noinline]] void* operator new(size_t size) {
  if (size >= kBuffer) ++buffers_allocated;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new(size_t size, std::align_val_t alignment) {
  if (size >= kBuffer) ++buffers_allocated;
  const auto step = static_cast<size_t>(alignment);
  const size_t whole = (size + step - 1) / step * step;
  if (void* memory = std::aligned_alloc(step, whole)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t /*size*/) noexcept {
  std::free(memory);
}

[[gnu::noinline]] void operator delete(
    void* memory, std::align_val_t /*alignment*/) noexcept {
  std::free(memory);
}
[[gnu::noinline]] void operator delete(
    void* memory, size_t /*size*/, std::align_val_t /*alignment*/) noexcept {
  std::free(memory);
}

namespace vit {
namespace {

void ExpectNoBuffer(Precision precision) {
  auto model = VitModel::Create(testing::RandomModel(testing::MnistConfig()),
                                {.max_batch_size = 16, .precision = precision});
  ASSERT_TRUE(model.ok()) << model.status();
  auto classifier = (*model)->NewClassifier();
  ASSERT_TRUE(classifier.ok());
  const auto images = testing::RandomImages(testing::MnistConfig().image, 16);
  const std::vector<Image> views = testing::Views(images);
  std::vector<Prediction> predictions(16);
  ASSERT_TRUE((*classifier)->Classify(views, predictions).ok());

  buffers_allocated = 0;
  for (size_t size = 1; size <= 16; ++size) {
    ASSERT_TRUE((*classifier)
                    ->Classify(std::span(views).first(size),
                               std::span(predictions).first(size))
                    .ok());
  }
  EXPECT_EQ(buffers_allocated, 0);
}

TEST(AllocationTest, ABatchAllocatesNoBuffer) {
  ExpectNoBuffer(Precision::kF32);
  if (VitModel::SupportsBf16()) ExpectNoBuffer(Precision::kBf16);
  if (VitModel::SupportsInt8()) ExpectNoBuffer(Precision::kInt8);

  // The count does see a buffer.
  buffers_allocated = 0;
  const std::vector<char> buffer(kBuffer);
  EXPECT_EQ(buffers_allocated, 1);
  const AlignedVector<char> aligned(kBuffer);
  EXPECT_EQ(buffers_allocated, 2);
}

}  // namespace
}  // namespace vit
