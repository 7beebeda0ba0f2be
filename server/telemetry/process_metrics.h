#ifndef MNIST_VIT_SERVER_TELEMETRY_PROCESS_METRICS_H_
#define MNIST_VIT_SERVER_TELEMETRY_PROCESS_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <vector>

namespace vit {

// The process_* metrics that every Prometheus client library exports, read
// from /proc/self when they are asked for. A metric that cannot be read is left
// out. Thread-safe.
//
// https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics
class ProcessMetrics : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_TELEMETRY_PROCESS_METRICS_H_
