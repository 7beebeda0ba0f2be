#ifndef MNIST_VIT_MODEL_SIDE_BY_SIDE_H_
#define MNIST_VIT_MODEL_SIDE_BY_SIDE_H_

#include <functional>

#include "absl/status/status.h"

namespace vit {

// Calls task(0) to task(count - 1), each on a thread of its own, and waits for
// all of them. Returns the error of the lowest number, or OK. A task that
// throws has failed with Internal. Where the system gives no further thread,
// the calling thread does what is left, one task after another.
absl::Status RunSideBySide(int count,
                           const std::function<absl::Status(int)>& task);

}  // namespace vit

#endif  // MNIST_VIT_MODEL_SIDE_BY_SIDE_H_
