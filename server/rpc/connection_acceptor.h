#ifndef MNIST_VIT_SERVER_RPC_CONNECTION_ACCEPTOR_H_
#define MNIST_VIT_SERVER_RPC_CONNECTION_ACCEPTOR_H_

#include <grpcpp/server_builder.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>

#include "absl/status/statusor.h"
#include "server/base/clock.h"
#include "server/base/file_descriptor.h"
#include "server/base/listening_socket.h"
#include "server/base/rpc_observer.h"
#include "server/rpc/connection_hand_over.h"

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
//
// To know when gRPC is done with a connection, and to be able to end one, it
// keeps a duplicate of each descriptor.
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

  // Memory runs short: ends the few connections that send most now. If none
  // sends much, ends one that has fallen silent: the one that sent most before.
  // Thread-safe.
  void RelievePressure();

  // Takes no more connections; those that are open go on. Thread-safe.
  void StopAccepting();

 private:
  struct Connection {
    FileDescriptor duplicate;
    Clock::time_point accepted;
    uint64_t received = 0;  // bytes, when last looked at
  };

  ConnectionAcceptor(ListeningSocket listener, size_t max_connections,
                     RpcObserver* observer);

  void Run();
  void Accept();
  void HandOver(FileDescriptor connection);
  // Ends the connection that has been silent longest; false if none has been
  // for long enough.
  bool MakeRoom();
  void EndHungriest();
  std::optional<uint64_t> Busiest();
  std::optional<uint64_t> FullestOfSilent() const;
  // Nothing happens if the connection has gone.
  void End(uint64_t id, RpcObserver::Rule rule);
  void Forget(uint64_t id);
  void Wake();

  const size_t max_connections_;
  RpcObserver* const observer_;
  ListeningSocket listener_;
  FileDescriptor epoll_;
  FileDescriptor wake_;
  std::unique_ptr<ConnectionHandOver> hand_over_;
  std::atomic<bool> accepting_{true};
  std::atomic<bool> pressed_{false};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
  // The thread's.
  std::unordered_map<uint64_t, Connection> connections_;
  uint64_t next_id_ = 2;  // see the .cc
  bool out_of_descriptors_ = false;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_CONNECTION_ACCEPTOR_H_
