#ifndef MNIST_VIT_SERVER_SERVER_H_
#define MNIST_VIT_SERVER_SERVER_H_

#include <grpcpp/server.h>
#include <prometheus/registry.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/classifier.h"
#include "server/base/serving_state.h"
#include "server/batching/batch_scheduler.h"
#include "server/rpc/call_tracker.h"
#include "server/services/classifier_service.h"
#include "server/rpc/event_loop.h"
#include "server/rpc/health_service.h"
#include "server/telemetry/metrics.h"
#include "server/options/options.h"

namespace vit {

// The whole service around classifiers that are loaded, warm and checked:
// scheduler, metrics, gRPC with health and reflection. Thread-compatible.
class Server {
 public:
  // Starts to serve, with one worker for each classifier, fills `registry`, and
  // moves `state`, which outlives the server, on to serving. `build` labels
  // vit_build_info. Unavailable if the address cannot be listened on.
  static absl::StatusOr<std::unique_ptr<Server>> Start(
      const ServerOptions& options,
      std::vector<std::unique_ptr<Classifier>> classifiers,
      const std::map<std::string, std::string>& build,
      prometheus::Registry* registry, ServingState* state);

  // Drains.
  ~Server();

  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // The port that gRPC listens on.
  int port() const { return port_; }

  // Says NOT_SERVING to those who watch, refuses new calls with Unavailable,
  // finishes the accepted ones, and stops. False if calls were still under way
  // after options.drain_timeout_seconds and had to be cut off. A second call
  // does nothing and returns what the first did.
  bool Drain();

 private:
  Server(const ServerOptions& options,
         std::vector<std::unique_ptr<Classifier>> classifiers,
         const std::map<std::string, std::string>& build,
         prometheus::Registry* registry, ServingState* state);

  absl::Status Listen();

  const ServerOptions options_;
  ServingState* const state_;
  const ModelInfo model_;
  Metrics metrics_;
  CallTracker calls_;
  BatchScheduler scheduler_;
  ClassifierService service_;
  HealthService health_;
  std::vector<std::unique_ptr<EventLoop>> loops_;
  std::unique_ptr<grpc::Server> grpc_;
  int port_ = 0;
  bool drained_ = false;
  bool complete_ = true;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_SERVER_H_
