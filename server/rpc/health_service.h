#ifndef MNIST_VIT_SERVER_RPC_HEALTH_SERVICE_H_
#define MNIST_VIT_SERVER_RPC_HEALTH_SERVICE_H_

#include <grpcpp/grpcpp.h>

#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "server/rpc/event_loop.h"
#include "server/base/mutex.h"

namespace vit {

// gRPC's health checking protocol, of the server as a whole and of one service.
// Not gRPC's own: that is made with threads that wait for the sockets beside
// the event loop's, which costs every call of the server several switches.
// Thread-safe.
class HealthService {
 public:
  using Status = grpc::health::v1::HealthCheckResponse::ServingStatus;

  // Serving from the start.
  explicit HealthService(std::string service);

  // To be registered before the server starts.
  grpc::Service* grpc() { return &grpc_; }

  // Waits for calls, and takes them until the server shuts down. Before the
  // loop starts.
  void Serve(EventLoop* loop);

  // From now on neither serves, which is told to those who watch.
  void SetNotServing() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  class CheckCall;
  class WatchCall;

  Status Of(const std::string& service) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string service_;
  grpc::health::v1::Health::AsyncService grpc_;
  Mutex mutex_;
  bool serving_ ABSL_GUARDED_BY(mutex_) = true;
  std::set<WatchCall*> watching_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_HEALTH_SERVICE_H_
