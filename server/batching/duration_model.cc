#include "server/batching/duration_model.h"

#include <algorithm>
#include <chrono>

namespace vit {
namespace {

constexpr size_t kEnough = 8;           // batches, before anything is said
constexpr double kKept = 1 - 1.0 / 64;  // of a weight, with each batch
constexpr double kLeastVariance = 0.1;  // of the images, to tell a slope
constexpr double kTick = 1e-9;          // seconds; what is zero could not grow
constexpr double kFar = 4;  // times the expected duration, or a part of it

Clock::duration FromSeconds(double seconds) {
  return std::chrono::round<Clock::duration>(
      std::chrono::duration<double>(seconds));
}

}  // namespace

void DurationModel::Learn(size_t images, Clock::duration took) {
  const auto x = static_cast<double>(images);
  double y = std::max(std::chrono::duration<double>(took).count(), kTick);
  if (batches_ > 0) {
    // A slope that is not known yet is between none and all.
    const auto [low, high] = std::minmax({Predict(x), seconds_ * x / images_});
    y = std::min(y, high * kFar);
    if (y * kFar < low) {
      weight_ /= 2;
      images_squared_ /= 2;
      images_seconds_ /= 2;
    }
  }
  batches_ = std::min(batches_ + 1, kEnough);
  weight_ = weight_ * kKept + 1;
  const double dx = x - images_;
  const double dy = y - seconds_;
  images_ += dx / weight_;
  seconds_ += dy / weight_;
  images_squared_ = images_squared_ * kKept + dx * (x - images_);
  images_seconds_ = images_seconds_ * kKept + dx * (y - seconds_);
  Fit();
}

void DurationModel::Fit() {
  if (images_squared_ >= kLeastVariance * weight_) {
    slope_ = std::max(images_seconds_ / images_squared_, 0.0);
  }
  base_ = seconds_ - slope_ * images_;
  if (base_ >= 0) return;
  // The best line through the origin.
  base_ = 0;
  slope_ = (images_seconds_ + weight_ * images_ * seconds_) /
           (images_squared_ + weight_ * images_ * images_);
}

std::optional<BatchCost> DurationModel::cost() const {
  if (batches_ < kEnough) return std::nullopt;
  return BatchCost{.per_image = FromSeconds(slope_),
                   .per_batch = FromSeconds(base_)};
}

}  // namespace vit
