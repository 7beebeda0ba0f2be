#ifndef MNIST_VIT_CLIENT_IDX_H_
#define MNIST_VIT_CLIENT_IDX_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

// The IDX files that MNIST comes in, plain or gzipped: a magic number (two
// zeros, the element type, the number of dimensions), each dimension as 32 bits
// big-endian, then the elements, the last dimension fastest.
//
// The functions are thread-safe. Errors name the file and say what was expected
// and what came: NotFound and PermissionDenied as the system says;
// InvalidArgument for a file that is not what was asked for, is truncated, or
// goes on after its end. What a header claims is not believed: memory grows
// with what was read.
namespace vit::client {

struct IdxImages {
  int count = 0;
  int rows = 0;                 // pixels
  int columns = 0;              // pixels
  std::vector<uint8_t> pixels;  // [count][rows][columns]

  // The pixels of one image, row-major; valid as long as this object.
  std::span<const uint8_t> image(int index) const {
    const size_t size = static_cast<size_t>(rows) * columns;
    return std::span(pixels).subspan(index * size, size);
  }
};

// Reads a file of unsigned bytes in three dimensions.
absl::StatusOr<IdxImages> ReadIdxImages(const std::string& path);

// Reads a file of unsigned bytes in one dimension: one label an image.
absl::StatusOr<std::vector<uint8_t>> ReadIdxLabels(const std::string& path);

}  // namespace vit::client

#endif  // MNIST_VIT_CLIENT_IDX_H_
