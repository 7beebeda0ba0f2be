#ifndef MNIST_VIT_SERVER_RPC_RPC_SERVER_H_
#define MNIST_VIT_SERVER_RPC_RPC_SERVER_H_

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/base/rpc_observer.h"
#include "server/base/serving_state.h"
#include "server/rpc/admission.h"
#include "server/rpc/authenticator.h"
#include "server/rpc/call.h"
#include "server/rpc/connection_acceptor.h"
#include "server/rpc/event_loop.h"

namespace vit {

struct RpcServerOptions {
  std::string address;
  std::shared_ptr<grpc::ServerCredentials> credentials =
      grpc::InsecureServerCredentials();
  // Outlives the server; null: calls need no token.
  Authenticator* authenticator = nullptr;
  size_t loops = 1;
  size_t max_connections = 16;
  int max_calls_per_connection = 100;
  int max_message_bytes = 64 << 10;
  int64_t quota_bytes = 16 << 20;  // what gRPC may hold in its own buffers
  AdmissionLimits admission = {};
  // Seconds; zero: no limit.
  int connection_idle_seconds = 300;
  int connection_age_seconds = 0;
  int connection_age_grace_seconds = 0;
  int keepalive_seconds = 30;
};

// A gRPC server on one address, for the methods of a table: acceptor, event
// loops, admission. It knows none of the methods. Thread-compatible.
class RpcServer {
 public:
  // Starts to serve. `state` and `observer` outlive it, and so does what the
  // methods use. Unavailable if the address cannot be listened on.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(
      const RpcServerOptions& options, MethodTable methods,
      const ServingState* state, RpcObserver* observer);

  // Shuts down at once, if Drain has not.
  ~RpcServer();

  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  // The port that it listens on; 0 for a Unix socket.
  int port() const { return acceptor_->port(); }
  // Where it listens, as it was given, with the port that was picked.
  const std::string& address() const { return acceptor_->address(); }
  Admission& admission() { return admission_; }
  ConnectionAcceptor& acceptor() { return *acceptor_; }
  std::vector<EventLoop*> loops() const;

  // Accepts no more connections and calls, and finishes the accepted calls.
  // False if some were still under way at the deadline. Then only CutOff
  // remains to be called.
  bool Drain(Clock::time_point deadline);

  // Ends every call and connection, and the loops. From the caller's return on
  // nothing may use a call.
  void CutOff();

 private:
  RpcServer(const RpcServerOptions& options, MethodTable methods,
            const ServingState* state, RpcObserver* observer);

  // Tells the loops, too, how many connections there are.
  class LoopWaker final : public RpcObserver {
   public:
    LoopWaker(RpcServer* server, RpcObserver* observer)
        : server_(*server), observer_(*observer) {}
    void OnRefused(Rule rule) override { observer_.OnRefused(rule); }
    void OnCalls(size_t in_flight) override { observer_.OnCalls(in_flight); }
    void OnConnections(size_t open) override;

   private:
    RpcServer& server_;
    RpcObserver& observer_;
  };

  absl::Status Listen(const RpcServerOptions& options);

  LoopWaker observer_;
  Admission admission_;
  grpc::AsyncGenericService generic_;
  CallContext calls_;
  std::unique_ptr<ConnectionAcceptor> acceptor_;
  std::vector<std::unique_ptr<EventLoop>> loops_;
  std::unique_ptr<grpc::Server> grpc_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_RPC_SERVER_H_
