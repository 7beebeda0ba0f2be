// What the metrics add to a request: all that is counted for one image that is
// computed in a batch of eight, by one thread or by two at once.

#include <benchmark/benchmark.h>
#include <prometheus/registry.h>

#include <chrono>
#include <memory>
#include <string>

#include "server/telemetry/metrics.h"

namespace vit {
namespace {

constexpr int kBatch = 8;

ModelInfo TenClasses() {
  ModelInfo info;
  for (int i = 0; i < 10; ++i) info.labels.push_back(std::to_string(i));
  return info;
}

void MetricsOfRequest(benchmark::State& state) {
  static prometheus::Registry registry;
  static Metrics metrics(&registry, {});
  static const std::shared_ptr<ModelMetrics> kModel =
      metrics.ForModel(TenClasses());
  constexpr std::chrono::microseconds kStage{100};
  int image = 0;
  for (auto _ : state) {
    kModel->OnQueueDepth(1);
    if (++image % kBatch == 0) {
      kModel->OnQueueDepth(0);
      kModel->OnBatch(kBatch, kStage, BatchObserver::Leaving::kFull);
    }
    kModel->OnTaken(kStage);
    kModel->OnPrediction(image % 10, kStage);
    metrics.OnRequest(Method::kClassify, absl::StatusCode::kOk, kStage);
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(MetricsOfRequest)->Name("Metrics")->Threads(1)->Threads(2);

}  // namespace
}  // namespace vit
