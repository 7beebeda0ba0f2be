#ifndef MNIST_VIT_CLIENT_PICTURE_H_
#define MNIST_VIT_CLIENT_PICTURE_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vit::client {

// A grey picture: width x height pixels, row-major, one byte a pixel, 0 black
// and 255 white.
struct GreyPicture {
  int width = 0;   // pixels
  int height = 0;  // pixels
  std::vector<uint8_t> pixels;

  uint8_t at(int x, int y) const {
    return pixels[static_cast<size_t>(y) * width + x];
  }
};

// A colour picture: as GreyPicture, with three bytes a pixel: red, green, blue.
struct RgbPicture {
  int width = 0;   // pixels
  int height = 0;  // pixels
  std::vector<uint8_t> pixels;
};

}  // namespace vit::client

#endif  // MNIST_VIT_CLIENT_PICTURE_H_
