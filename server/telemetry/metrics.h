#ifndef MNIST_VIT_SERVER_TELEMETRY_METRICS_H_
#define MNIST_VIT_SERVER_TELEMETRY_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <array>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "model/classifier.h"
#include "server/base/clock.h"
#include "server/base/mutex.h"
#include "server/base/rpc_observer.h"
#include "server/telemetry/model_metrics.h"

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
class Metrics : public RpcObserver {
 public:
  // `build` labels vit_build_info: version, compiler and the like.
  Metrics(prometheus::Registry* registry,
          const std::map<std::string, std::string>& build);

  // One call is over. For ClassifyStream: one message of it is answered.
  void OnRequest(Method method, absl::StatusCode code,
                 Clock::duration duration);

  // What is counted for one version of a model; its series go with the last
  // reference. Two queues of the same version share one.
  std::shared_ptr<ModelMetrics> ForModel(const ModelInfo& model)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // How the watchdog finds the server.
  void OnHeartbeat(Clock::duration loop_lag, Clock::duration oldest_wait);

  // A reload of the models did so much; or could not read the disk.
  void OnReload(size_t loaded, size_t refused, size_t retired);
  void OnReloadFailed();

  void OnRefused(Rule rule) override;
  void OnCalls(size_t in_flight) override;
  void OnConnections(size_t open) override;

 private:
  static constexpr size_t kCodes = 17;  // absl::StatusCode, 0 to 16

  struct PerMethod {
    std::array<prometheus::Counter*, kCodes> requests;
    prometheus::Histogram* duration;
  };

  void AddRequests(prometheus::Registry* registry);
  void AddRefusals(prometheus::Registry* registry);
  void AddReloads(prometheus::Registry* registry);

  ModelFamilies families_;
  std::array<PerMethod, kMethods.size()> methods_;
  std::array<prometheus::Counter*, kRules> refused_{};
  prometheus::Counter* loaded_;
  prometheus::Counter* model_refused_;
  prometheus::Counter* retired_;
  prometheus::Counter* reload_failed_;
  prometheus::Gauge* calls_;
  prometheus::Gauge* connections_;
  prometheus::Gauge* loop_lag_;
  prometheus::Gauge* oldest_wait_;

  Mutex mutex_;
  // By name and version.
  std::map<std::pair<std::string, std::string>, std::weak_ptr<ModelMetrics>>
      models_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_TELEMETRY_METRICS_H_
