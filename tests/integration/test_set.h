#ifndef MNIST_VIT_TESTS_INTEGRATION_TEST_SET_H_
#define MNIST_VIT_TESTS_INTEGRATION_TEST_SET_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "client/idx.h"

namespace vit::testing {

inline constexpr char kImagesFile[] =
    VIT_SOURCE_DIR "/tests/data/mnist/t10k-images-idx3-ubyte.gz";
inline constexpr char kLabelsFile[] =
    VIT_SOURCE_DIR "/tests/data/mnist/t10k-labels-idx1-ubyte.gz";

// MNIST's 10,000 test images and their labels, read once.
class TestSet {
 public:
  static const TestSet& Get() {
    static const auto& set = *new TestSet;
    return set;
  }

  // As a request holds it.
  std::string image(int index) const {
    const std::span<const uint8_t> pixels = images_.image(index);
    return {pixels.begin(), pixels.end()};
  }
  int label(int index) const { return labels_[index]; }

 private:
  TestSet()
      : images_(client::ReadIdxImages(kImagesFile).value()),
        labels_(client::ReadIdxLabels(kLabelsFile).value()) {}

  client::IdxImages images_;
  std::vector<uint8_t> labels_;
};

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_INTEGRATION_TEST_SET_H_
