#ifndef MNIST_VIT_SERVER_RPC_CONNECTION_TABLE_H_
#define MNIST_VIT_SERVER_RPC_CONNECTION_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "server/base/clock.h"
#include "server/base/file_descriptor.h"
#include "server/base/mutex.h"
#include "server/base/rpc_observer.h"
#include "server/rpc/socket_traffic.h"

namespace vit {

// The open connections of gRPC's server, by numbers of the caller's; and which
// of them to end when one does harm. It keeps a duplicate of each connection's
// descriptor, so that it can look at what comes, and can end the connection
// while gRPC reads from it.
//
// Who does harm shows in the bytes that a peer has sent since the server last
// sent it any. HTTP/2 lets a peer send 64 KiB and a few headers, and then it
// waits for WINDOW_UPDATE, or, within a larger message, little more. Only
// frames that gRPC does not answer can go on without end: headers that never
// end above all, on which gRPC 1.51 spends ever more memory and time.
//
// Thread-safe.
class ConnectionTable {
 public:
  // How many times in a row something must be found stalled; see OnTick.
  static constexpr int kTicks = 3;
  // The unanswered bytes that make a peer the cause of a stall, or of memory's
  // running short.
  static constexpr uint64_t kStalling = 256 << 10;
  static constexpr uint64_t kFilling = 1 << 20;
  // The bytes of a peer that a thread reads in the time from one call of OnTick
  // to the next, at least, unless each costs more than it should: 32 MB/s.
  static constexpr uint64_t kReadPerTick = 640 << 10;

  // `observer` outlives it.
  explicit ConnectionTable(RpcObserver* observer) : observer_(observer) {}

  ConnectionTable(const ConnectionTable&) = delete;
  ConnectionTable& operator=(const ConnectionTable&) = delete;

  size_t size() const ABSL_LOCKS_EXCLUDED(mutex_);

  void Add(uint64_t id, FileDescriptor duplicate) ABSL_LOCKS_EXCLUDED(mutex_);
  // Its peer or gRPC has closed it. Nothing happens if it has gone before.
  void Remove(uint64_t id) ABSL_LOCKS_EXCLUDED(mutex_);
  // Ends it by a rule. Nothing happens if it has gone before.
  void End(uint64_t id, RpcObserver::Rule rule) ABSL_LOCKS_EXCLUDED(mutex_);
  // The server ends: all of them.
  void EndAll() ABSL_LOCKS_EXCLUDED(mutex_);

  // Ends the connection from which nothing has come for the longest time, if
  // that is a second or more; else false.
  bool MakeRoom() ABSL_LOCKS_EXCLUDED(mutex_);

  // Memory runs short: ends the connections with kFilling unanswered bytes. If
  // there are none, ends the few that send most now. Takes some ten
  // milliseconds.
  void RelievePressure() ABSL_LOCKS_EXCLUDED(mutex_);

  // To be called some fifty times a second. `is_stalled`: a thread that reads
  // from connections has been kept from all else, since the last call at least.
  // gRPC reads for as long as more bytes come, and the thread serves nobody
  // else meanwhile. From the kTicks-th such call in a row on it ends the
  // connections with kStalling unanswered bytes from which the thread has read
  // since the first, but slowly.
  void OnTick(bool is_stalled) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Connection {
    FileDescriptor duplicate;
    Clock::time_point accepted;
    SocketTraffic traffic{};  // when last looked at
    // What it had sent when it was last seen to be answered.
    uint64_t answered = 0;
    uint64_t read = 0;  // bytes, when the stall began

    uint64_t unanswered() const { return traffic.received - answered; }
  };
  using Connections = std::unordered_map<uint64_t, Connection>;

  void LookAtAll() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NoteRead() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsStalling(const Connection& connection) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndHungriest() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Returns the one after it.
  Connections::iterator End(Connections::iterator connection,
                            RpcObserver::Rule rule)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  RpcObserver* const observer_;
  mutable Mutex mutex_;
  Connections connections_ ABSL_GUARDED_BY(mutex_);
  // Of OnTick: how many calls there were, and how many in a row were stalled.
  int ticks_ ABSL_GUARDED_BY(mutex_) = 0;
  int stalled_ticks_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_CONNECTION_TABLE_H_
