#ifndef MNIST_VIT_SERVER_BASE_RETRY_AFTER_H_
#define MNIST_VIT_SERVER_BASE_RETRY_AFTER_H_

#include <optional>

#include "absl/status/status.h"
#include "server/base/clock.h"

namespace vit {

// A status can carry how long to wait before the same request is sent again.
// Whoever rejects sets it, and each protocol tells its clients in its own way.

void SetRetryAfter(Clock::duration wait, absl::Status* status);

// Nothing if the status does not say.
std::optional<Clock::duration> RetryAfter(const absl::Status& status);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_BASE_RETRY_AFTER_H_
