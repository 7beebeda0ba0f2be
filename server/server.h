#ifndef MNIST_VIT_SERVER_SERVER_H_
#define MNIST_VIT_SERVER_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/base/serving_state.h"
#include "server/batching/worker_pool.h"
#include "server/limits/memory_budget.h"
#include "server/models/model_repository.h"
#include "server/options/options.h"
#include "server/rpc/authenticator.h"
#include "server/rpc/health_service.h"
#include "server/rpc/reflection_service.h"
#include "server/rpc/rpc_server.h"
#include "server/services/admin_service.h"
#include "server/services/models_service.h"
#include "server/services/service_context.h"
#include "server/telemetry/metrics.h"
#include "server/watchdog.h"

namespace vit {

// What a server serves with; all of it outlives the server.
struct ServerParts {
  ServingState* state = nullptr;
  WorkerPool* pool = nullptr;
  Metrics* metrics = nullptr;
  PickModel pick_model;
  ListModels list_models;
  // Reloads the models, for the admin service.
  RequestReload request_reload;
  MemoryBudget budget;
  const OwnMemory* own_memory = nullptr;
  // Called by the watchdog once the server has hung for too long; does not
  // return in production. See Watchdog.
  OnHung on_hung;
};

// gRPC around models that are loaded: the public services on one address, the
// admin service on another. Thread-compatible.
class Server {
 public:
  // Starts to serve, and moves the state on to serving. Unavailable if an
  // address cannot be listened on; InvalidArgument or NotFound if a file of a
  // certificate or of tokens cannot be used.
  static absl::StatusOr<std::unique_ptr<Server>> Start(
      const ServerOptions& options, ServerParts parts);

  // Whether the files of the certificate and of the tokens can be used; errors
  // as of Start. Serves nothing.
  static absl::Status CheckFiles(const ServerOptions& options,
                                 ServerParts parts);

  // Drains, if it served.
  ~Server();

  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // The port that gRPC listens on; 0 for a Unix socket.
  int port() const { return public_->port(); }
  // Where it listens, as it was given, with the port that was picked.
  const std::string& address() const { return public_->address(); }
  // The same of the admin service; empty if it is off.
  std::string admin_address() const {
    return admin_ == nullptr ? "" : admin_->address();
  }

  // Shuts down without losing a call. Not ready at once, so that balancers look
  // away; takes calls still for options.lame_duck_seconds; then refuses new
  // ones with Unavailable, finishes the accepted ones, and stops. Answers that
  // nobody reads are cut off after options.write_timeout_seconds.
  //
  // False if calls were still under way after options.drain_timeout_seconds of
  // that and had to be cut off. A second call does nothing and returns what the
  // first did.
  bool Drain();

 private:
  Server(const ServerOptions& options, ServerParts parts);

  MethodTable PublicMethods();
  absl::Status StartPublic();
  absl::Status ReadTokens(const MethodTable& methods);
  absl::Status StartAdmin();
  void StartWatchdog();

  const ServerOptions options_;
  const ServerParts parts_;
  ServiceContext service_;
  HealthService health_;
  ReflectionService reflection_;
  ReflectionService admin_reflection_;
  NullRpcObserver not_counted_;
  std::unique_ptr<Authenticator> authenticator_;
  std::unique_ptr<RpcServer> public_;
  std::unique_ptr<RpcServer> admin_;
  std::unique_ptr<Watchdog> watchdog_;
  bool drained_ = false;
  bool complete_ = true;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_SERVER_H_
