#ifndef MNIST_VIT_SERVER_BATCHING_DURATION_MODEL_H_
#define MNIST_VIT_SERVER_BATCHING_DURATION_MODEL_H_

#include <cstddef>
#include <optional>

#include "server/batching/batch_policy.h"

namespace vit {

// Learns from the batches of the recent past what the next one will cost:
// a line through (images, duration) by least squares, in which each batch
// counts a little less than the one after it. Neither coefficient is negative.
//
// As long as all batches are of about the same size they say nothing of the
// slope, which then stays what it was; at first it is zero. A batch that takes
// far longer than expected, because its thread did not get the CPU perhaps,
// counts as a moderately long one; one that takes far less makes what was
// learned before count for half.
//
// Constant time, no allocation. Thread-compatible.
class DurationModel {
 public:
  // A worker was busy for `took` with a batch of `images`, at least 1.
  void Learn(size_t images, Clock::duration took);

  // Nothing before a few batches were learned from.
  std::optional<BatchCost> cost() const;

 private:
  double Predict(double images) const { return base_ + slope_ * images; }
  void Fit();

  size_t batches_ = 0;  // learned from, up to what is enough
  double weight_ = 0;   // of all batches together
  double images_ = 0;   // mean
  double seconds_ = 0;  // mean
  // Weighted sums of squares and products of the deviations from the means.
  double images_squared_ = 0;
  double images_seconds_ = 0;

  double slope_ = 0;  // seconds an image
  double base_ = 0;   // seconds a batch
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_BATCHING_DURATION_MODEL_H_
