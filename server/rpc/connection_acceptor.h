#ifndef MNIST_VIT_SERVER_RPC_CONNECTION_ACCEPTOR_H_
#define MNIST_VIT_SERVER_RPC_CONNECTION_ACCEPTOR_H_

#include <grpcpp/server_builder.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "server/base/clock.h"
#include "server/base/file_descriptor.h"
#include "server/base/listening_socket.h"
#include "server/base/rpc_observer.h"
#include "server/rpc/connection_hand_over.h"
#include "server/rpc/connection_table.h"

namespace vit {

// Listens for gRPC's connections in gRPC's place, on one thread, and hands each
// to gRPC, by way of ConnectionHandOver. gRPC 1.51 limits connections nowhere,
// and a listener of its own that once runs out of descriptors never accepts
// again (CVE-2023-4785).
//
// When `max_connections` are open, a new one displaces the one from which
// nothing has come for the longest time, if that is a second or more; else the
// new one is closed at once. A client whose idle connection is closed makes
// another when it needs one.
class ConnectionAcceptor {
 public:
  // Listens on "host:port", "[v6]:port" (port 0 picks a free one) or
  // "unix:/path". InvalidArgument if the address has another form, Unavailable
  // if it cannot be listened on. `observer` outlives the acceptor.
  static absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> Listen(
      const std::string& address, size_t max_connections,
      RpcObserver* observer);

  // Stops, and ends all connections.
  ~ConnectionAcceptor();

  ConnectionAcceptor(const ConnectionAcceptor&) = delete;
  ConnectionAcceptor& operator=(const ConnectionAcceptor&) = delete;

  // The port that it listens on; 0 for a Unix socket.
  int port() const { return listener_.port(); }
  // As it was given, with the port that was picked.
  const std::string& address() const { return listener_.address(); }

  // Begins to hand connections to gRPC, whose server has started.
  void Start(
      std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> to_grpc);

  // The open connections. Thread-safe.
  ConnectionTable& connections() { return connections_; }

  // How long gRPC has kept a thread that brought it a connection, at `now`; the
  // longest of them. Once started. Thread-safe.
  Clock::duration LongestHandOver(Clock::time_point now) const {
    return hand_over_->Longest(now);
  }

  // Takes no more connections; those that are open go on. Thread-safe.
  void StopAccepting();

 private:
  ConnectionAcceptor(ListeningSocket listener, size_t max_connections,
                     RpcObserver* observer);

  void Run();
  void Accept();
  void HandOver(FileDescriptor connection);
  void Wake();

  const size_t max_connections_;
  RpcObserver* const observer_;
  ConnectionTable connections_;
  ListeningSocket listener_;
  FileDescriptor epoll_;
  FileDescriptor wake_;
  std::unique_ptr<ConnectionHandOver> hand_over_;
  std::atomic<bool> accepting_{true};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
  // The thread's.
  uint64_t next_id_ = 2;  // see the .cc
  bool out_of_descriptors_ = false;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_CONNECTION_ACCEPTOR_H_
