#ifndef MNIST_VIT_SERVER_BASE_CLOCK_H_
#define MNIST_VIT_SERVER_BASE_CLOCK_H_

#include <chrono>

namespace vit {

// The server's only clock: monotonic, so that no correction of the wall clock
// makes a call late.
using Clock = std::chrono::steady_clock;

// In seconds, for the wire and for metrics.
inline double Seconds(Clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace vit

#endif  // MNIST_VIT_SERVER_BASE_CLOCK_H_
