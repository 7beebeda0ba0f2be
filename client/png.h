#ifndef MNIST_VIT_CLIENT_PNG_H_
#define MNIST_VIT_CLIENT_PNG_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/picture.h"

// PNG files. The functions are thread-safe; errors name the file and the
// reason.
namespace vit::client {

// Reads a PNG of any colour type, bit depth and interlacing as a grey picture:
// colours by their brightness, transparent pixels over white.
//
// NotFound and such as the system says; InvalidArgument for a file that is not
// a PNG, is truncated or damaged, or has more than 100 million pixels.
absl::StatusOr<GreyPicture> ReadPng(const std::string& path);

// Writes a picture, replacing a file that is there. Internal, or as the system
// says, if that fails; what was written by then is left.
absl::Status WritePng(const GreyPicture& picture, const std::string& path);
absl::Status WritePng(const RgbPicture& picture, const std::string& path);

}  // namespace vit::client

#endif  // MNIST_VIT_CLIENT_PNG_H_
