#ifndef MNIST_VIT_SERVER_TELEMETRY_METRICS_H_
#define MNIST_VIT_SERVER_TELEMETRY_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <array>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/classifier.h"
#include "server/batching/batch_scheduler.h"

namespace vit {

// The RPC methods, as they are counted.
enum class Method { kClassify, kClassifyBatch, kClassifyStream, kExplain };
inline constexpr std::array kMethods = {
    Method::kClassify, Method::kClassifyBatch, Method::kClassifyStream,
    Method::kExplain};
const char* MethodName(Method method);

// Every metric that the service exports, looked up once: counting is then a
// few atomic additions, with no search by label. All series exist, at zero,
// from the start. Base units: seconds, bytes.
//
// Thread-safe. The registry outlives it.
class Metrics : public BatchObserver {
 public:
  // `build` labels vit_build_info: version, compiler and the like.
  Metrics(prometheus::Registry* registry, const ModelInfo& model,
          const std::map<std::string, std::string>& build);

  // One call is over. For ClassifyStream: one message of it is answered.
  void OnRequest(Method method, absl::StatusCode code,
                 Clock::duration duration);
  // An answer with this label is on its way; `respond` is the time from the
  // end of the batch until the answer was handed to gRPC.
  void OnPrediction(int label, Clock::duration respond);

  void OnRejected(Rejection reason, size_t tasks) override;
  void OnQueueDepth(size_t waiting) override;
  void OnTaken(Clock::duration queued) override;
  void OnDropped(Drop reason) override;
  void OnBatch(size_t size, Clock::duration inference) override;
  void OnCost(const BatchCost& cost) override;

 private:
  static constexpr size_t kCodes = 17;  // absl::StatusCode, 0 to 16

  struct PerMethod {
    std::array<prometheus::Counter*, kCodes> requests;
    prometheus::Histogram* duration;
  };

  std::array<PerMethod, kMethods.size()> methods_;
  prometheus::Histogram* queue_;
  prometheus::Histogram* inference_;
  prometheus::Histogram* respond_;
  prometheus::Histogram* batch_size_;
  prometheus::Gauge* queue_depth_;
  prometheus::Gauge* cost_per_image_;
  prometheus::Gauge* cost_per_batch_;
  prometheus::Counter* images_;
  prometheus::Counter* full_;
  prometheus::Counter* late_;
  prometheus::Counter* expired_;
  prometheus::Counter* cancelled_;
  std::vector<prometheus::Counter*> predictions_;  // one a class
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_TELEMETRY_METRICS_H_
