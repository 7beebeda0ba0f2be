#ifndef MNIST_VIT_CLIENT_INPUT_H_
#define MNIST_VIT_CLIENT_INPUT_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "client/picture.h"

namespace vit::client {

// Reads one image to classify: from an IDX file the one at `index` (0 if there
// is none), as it is; from a PNG the picture brought to MNIST's form.
//
// The errors of ReadPng, ToMnistForm and ReadIdxImages, naming the file;
// InvalidArgument for a file that is neither, or for a PNG with an index;
// OutOfRange for an index that the file does not have. Thread-safe.
absl::StatusOr<GreyPicture> LoadImage(const std::string& path,
                                      std::optional<int> index);

}  // namespace vit::client

#endif  // MNIST_VIT_CLIENT_INPUT_H_
