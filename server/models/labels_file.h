#ifndef MNIST_VIT_SERVER_MODELS_LABELS_FILE_H_
#define MNIST_VIT_SERVER_MODELS_LABELS_FILE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace vit {

// Reads labels.txt: one label a line, for class 0 first, in UTF-8. Line ends
// may be Windows'. InvalidArgument, naming the path and the line, if a label is
// empty or not UTF-8 or if there are not as many as `classes`; Unavailable if
// the file cannot be read.
absl::StatusOr<std::vector<std::string>> ReadLabels(const std::string& path,
                                                    size_t classes);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_MODELS_LABELS_FILE_H_
