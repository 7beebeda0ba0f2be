#ifndef MNIST_VIT_SERVER_BASE_RPC_OBSERVER_H_
#define MNIST_VIT_SERVER_BASE_RPC_OBSERVER_H_

#include <cstddef>

namespace vit {

// Learns what happens to connections and calls before and after a service has
// to do with them, for metrics. Called by many threads at once, some of them
// under locks: be quick, and don't call back.
class RpcObserver {
 public:
  // The rule by which a call was refused or cut off.
  enum class Rule {
    kNotServing,       // the server is shutting down
    kUnknownMethod,    // no service of ours
    kUnauthenticated,  // no token, or one that is not known
    kForbidden,        // the token is not for this method
    kRateLimit,        // the token was used too often
    kTooManyCalls,     // all places for calls are taken
    kTooManyStreams,   // all places for streams are taken
    kMethodBusy,       // the method has a limit of its own, such as Explain
    kMalformed,        // a message that cannot be parsed
    kNoMessage,        // gone, or a message too large, before one was read
    kMessageTimeout,   // a message was half sent for too long
    kWriteTimeout,     // an answer was not read for too long
    kMadeRoom,         // cut off so that another call could come in
    kConnectionLimit,  // a connection was closed at once
    kMemoryPressure,   // cut off because memory ran short
    kStall,            // a connection that kept a thread to itself
  };
  static constexpr size_t kRules = 16;

  virtual ~RpcObserver() = default;
  virtual void OnRefused(Rule rule) = 0;
  // How many there are from now on.
  virtual void OnCalls(size_t in_flight) = 0;
  virtual void OnConnections(size_t open) = 0;
};

// Learns nothing.
class NullRpcObserver final : public RpcObserver {
 public:
  void OnRefused(Rule /*rule*/) override {}
  void OnCalls(size_t /*in_flight*/) override {}
  void OnConnections(size_t /*open*/) override {}
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_BASE_RPC_OBSERVER_H_
