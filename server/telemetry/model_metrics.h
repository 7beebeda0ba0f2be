#ifndef MNIST_VIT_SERVER_TELEMETRY_MODEL_METRICS_H_
#define MNIST_VIT_SERVER_TELEMETRY_MODEL_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/labels.h>
#include <prometheus/registry.h>

#include <array>
#include <functional>
#include <vector>

#include "model/classifier.h"
#include "server/batching/task.h"

namespace vit {

// The families of metrics that have series for each model and version.
struct ModelFamilies {
  explicit ModelFamilies(prometheus::Registry* registry);

  prometheus::Family<prometheus::Histogram>& stages;
  prometheus::Family<prometheus::Histogram>& batch_size;
  prometheus::Family<prometheus::Gauge>& queue_depth;
  prometheus::Family<prometheus::Gauge>& cost_per_image;
  prometheus::Family<prometheus::Gauge>& cost_per_batch;
  prometheus::Family<prometheus::Gauge>& info;
  prometheus::Family<prometheus::Counter>& images;
  prometheus::Family<prometheus::Counter>& failed;
  prometheus::Family<prometheus::Counter>& batches;
  prometheus::Family<prometheus::Counter>& rejected;
  prometheus::Family<prometheus::Counter>& dropped;
  prometheus::Family<prometheus::Counter>& predictions;
};

// The series of one version of a model, which go with it. Thread-safe. The
// families outlive it.
class ModelMetrics : public BatchObserver {
 public:
  ModelMetrics(ModelFamilies* families, const ModelInfo& model);
  ~ModelMetrics() override;

  ModelMetrics(const ModelMetrics&) = delete;
  ModelMetrics& operator=(const ModelMetrics&) = delete;

  void OnRejected(Rejection reason, size_t tasks) override;
  void OnQueueDepth(size_t waiting) override;
  void OnTaken(Clock::duration queued) override;
  void OnDropped(Drop reason) override;
  void OnBatch(size_t size, Clock::duration inference,
               Leaving leaving) override;
  void OnBatchFailed(size_t size) override;
  void OnPrediction(int label, Clock::duration respond) override;
  void OnCost(Clock::duration per_image, Clock::duration per_batch) override;

 private:
  // A series of the family with the model's labels and these, which goes with
  // this object.
  template <typename Metric, typename... Arguments>
  Metric* Add(prometheus::Family<Metric>& family,
              const prometheus::Labels& labels, Arguments&&... arguments);

  const prometheus::Labels model_;
  std::vector<std::function<void()>> removers_;
  prometheus::Histogram* queue_;
  prometheus::Histogram* inference_;
  prometheus::Histogram* respond_;
  prometheus::Histogram* batch_size_;
  prometheus::Gauge* queue_depth_;
  prometheus::Gauge* cost_per_image_;
  prometheus::Gauge* cost_per_batch_;
  prometheus::Counter* images_;
  prometheus::Counter* failed_;
  std::array<prometheus::Counter*, 4> batches_;    // by Leaving
  std::array<prometheus::Counter*, 3> rejected_;   // by Rejection
  std::array<prometheus::Counter*, 2> dropped_;    // by Drop
  std::vector<prometheus::Counter*> predictions_;  // one a class
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_TELEMETRY_MODEL_METRICS_H_
