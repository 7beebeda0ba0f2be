#ifndef MNIST_VIT_SERVER_BASE_RATE_LIMIT_H_
#define MNIST_VIT_SERVER_BASE_RATE_LIMIT_H_

#include <algorithm>
#include <chrono>

#include "server/base/clock.h"

namespace vit {

// Lets events through: `per_second` of them on average, and so many at once as
// come in a second, at least one. Pure: it knows the time only from its caller.
// Not thread-safe.
class RateLimit {
 public:
  // `per_second` is at least 1e-6 and at most 1e6.
  explicit RateLimit(double per_second)
      : per_second_(per_second),
        interval_(std::chrono::duration_cast<Clock::duration>(
            std::chrono::duration<double>(1 / per_second))),
        ahead_(std::max(Clock::duration(std::chrono::seconds(1)) - interval_,
                        Clock::duration(0))) {}

  // Zero if an event may happen now, and then it counts; else how long to wait.
  Clock::duration Take(Clock::time_point now) {
    const Clock::time_point from = std::max(next_, now);
    if (from - now > ahead_) return from - now - ahead_;
    next_ = from + interval_;
    return Clock::duration(0);
  }

  double per_second() const { return per_second_; }

 private:
  double per_second_;
  Clock::duration interval_;
  // How far events may run ahead of the average.
  Clock::duration ahead_;
  // When the next event would come if they came evenly.
  Clock::time_point next_ = Clock::time_point::min();
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_BASE_RATE_LIMIT_H_
