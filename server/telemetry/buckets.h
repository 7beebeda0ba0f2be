#ifndef MNIST_VIT_SERVER_TELEMETRY_BUCKETS_H_
#define MNIST_VIT_SERVER_TELEMETRY_BUCKETS_H_

#include <prometheus/histogram.h>

namespace vit {

// The edges of every duration's buckets, in seconds: from a tenth of a
// millisecond, about one image's computation, to the longest deadline that
// anyone sets. About three edges a factor of ten keep quantiles within the
// factor that alerts need.
inline prometheus::Histogram::BucketBoundaries DurationBuckets() {
  return {0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02,
          0.05,   0.1,    0.2,    0.5,   1,     2,     5,    10};
}

}  // namespace vit

#endif  // MNIST_VIT_SERVER_TELEMETRY_BUCKETS_H_
