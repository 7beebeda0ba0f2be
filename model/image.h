#ifndef MNIST_VIT_MODEL_IMAGE_H_
#define MNIST_VIT_MODEL_IMAGE_H_

#include <cstdint>
#include <span>

namespace vit {

// One image as it came over the wire: height x width x channels values,
// row-major, channels interleaved, one byte a value.
//
// A view: whoever makes it keeps the bytes alive and unchanged until the
// image's result is known, so that the bytes are copied just once, from the
// wire into the batch.
struct Image {
  std::span<const uint8_t> pixels;
};

// The shape that a model expects of every image.
struct ImageShape {
  int height = 0;    // pixels
  int width = 0;     // pixels
  int channels = 0;  // 1 grey, 3 RGB

  // Values, and so bytes, of one image.
  int size() const { return height * width * channels; }

  friend bool operator==(const ImageShape&, const ImageShape&) = default;
};

}  // namespace vit

#endif  // MNIST_VIT_MODEL_IMAGE_H_
