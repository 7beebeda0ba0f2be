#ifndef MNIST_VIT_SERVER_RPC_CONNECTION_HAND_OVER_H_
#define MNIST_VIT_SERVER_RPC_CONNECTION_HAND_OVER_H_

#include <grpcpp/server_builder.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/base/clock.h"
#include "server/base/file_descriptor.h"
#include "server/base/mutex.h"

namespace vit {

// Gives accepted connections to gRPC, on threads of its own.
//
// gRPC 1.51 may keep the thread that gives it a connection: it reads from the
// connection on that thread for as long as more bytes come. A peer that never
// stops sending would keep the only thread for good. So another thread is
// started when a connection has waited for kPatience, up to kMostThreads of
// them.
//
// Thread-safe.
class ConnectionHandOver {
 public:
  static constexpr size_t kMostThreads = 8;
  static constexpr Clock::duration kPatience = std::chrono::milliseconds(50);
  // How long gRPC may keep a thread while others wait and no more threads may
  // be started.
  static constexpr Clock::duration kLongest = std::chrono::seconds(1);

  explicit ConnectionHandOver(
      std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> to_grpc);

  // Closes the connections that still wait. Returns when no thread is in gRPC
  // any more, so whoever destroys it ends the connections first.
  ~ConnectionHandOver();

  ConnectionHandOver(const ConnectionHandOver&) = delete;
  ConnectionHandOver& operator=(const ConnectionHandOver&) = delete;

  // `id` names the connection to the caller, and is not 0. `listener` is the
  // descriptor that accepted it.
  void Add(uint64_t id, FileDescriptor connection, int listener)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // To be called every kPatience while connections wait. Starts another thread
  // if need be. If no more may be started, returns the connection that has kept
  // its thread longest, if that is kLongest or more: it is to be ended.
  std::optional<uint64_t> Look(Clock::time_point now)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // How long gRPC has kept a thread, at `now`; the longest of them.
  Clock::duration Longest(Clock::time_point now) const
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Whether any connection waits.
  bool busy() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Waiting {
    uint64_t id;
    FileDescriptor connection;
    int listener;
    Clock::time_point since;
  };
  // What a thread has in hand; no connection if `id` is 0.
  struct InHand {
    uint64_t id = 0;
    Clock::time_point since;
  };

  void StartThread() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // False if there are kMostThreads, or the system grants no more.
  bool MayStartThread() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run(size_t thread) ABSL_LOCKS_EXCLUDED(mutex_);

  const std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor>
      to_grpc_;
  mutable Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<Waiting> waiting_ ABSL_GUARDED_BY(mutex_);
  std::vector<InHand> in_hand_ ABSL_GUARDED_BY(mutex_);  // by thread
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_CONNECTION_HAND_OVER_H_
