#ifndef MNIST_VIT_SERVER_RPC_HEALTH_SERVICE_H_
#define MNIST_VIT_SERVER_RPC_HEALTH_SERVICE_H_

#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "grpc/health/v1/health.pb.h"
#include "server/base/mutex.h"
#include "server/base/serving_state.h"
#include "server/rpc/call.h"

namespace vit {

// gRPC's health checking protocol, of the server as a whole and of some
// services, which all follow one ServingState. Not gRPC's own service, because
// that brings threads of its own which wait for the sockets beside the event
// loop's: every call of the server would cost several switches more.
// Thread-safe.
class HealthService {
 public:
  // Knows these services, by their full names. `state` outlives it.
  HealthService(ServingState* state, std::set<std::string> services);
  ~HealthService();

  HealthService(const HealthService&) = delete;
  HealthService& operator=(const HealthService&) = delete;

  // Its methods; the service outlives their calls.
  void AddMethods(MethodTable* methods);

 private:
  class CheckHandler;
  class WatchHandler;
  using Status = grpc::health::v1::HealthCheckResponse::ServingStatus;

  Status Of(const std::string& service) const;
  void TellWatchers() ABSL_LOCKS_EXCLUDED(mutex_);

  ServingState* const state_;
  const std::set<std::string> services_;
  Mutex mutex_;
  std::set<WatchHandler*> watching_ ABSL_GUARDED_BY(mutex_);
  const int listener_;  // last: it is told as soon as it is added
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_HEALTH_SERVICE_H_
