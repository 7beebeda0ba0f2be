#ifndef MNIST_VIT_CLIENT_CONNECTION_H_
#define MNIST_VIT_CLIENT_CONNECTION_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>

#include "absl/status/status.h"
#include "client/client_options.h"

namespace vit::client {

// A channel to all servers behind a target, and whether calls wait for one of
// them when none can be reached.
//
// Until a server has answered, calls do not wait: a wrong address is told at
// once. After that they do, because a server that was there most likely comes
// back. Once a call has waited to its deadline in vain they do not any more,
// until a server answers again.
//
// Thread-safe. The connections are plain text, are made by the first call, are
// made again when they are lost, and do not use the environment's HTTP proxy.
class Connection {
 public:
  explicit Connection(const ClientOptions& options);

  const ClientOptions& options() const { return options_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

  // Before a call: sets its deadline and whether it waits for a server. Without
  // a deadline for a stream that lasts; returns whether it waits.
  void Prepare(grpc::ClientContext& context) const;
  bool PrepareWithoutDeadline(grpc::ClientContext& context) const;

  // After a call: learns from how it ended, and returns that with the target in
  // its message.
  absl::Status End(const grpc::Status& status);

  // Part of a call was not answered by the deadline: Unavailable if no server
  // can be reached, otherwise DeadlineExceeded.
  absl::Status EndAtDeadline();

  // A server has answered part of a call.
  void OnAnswer() { waits_.store(true, std::memory_order_relaxed); }

 private:
  absl::Status Unreachable();

  const ClientOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
  std::atomic<bool> waits_ = false;
};

// A channel that asks servers that are not healthy too. It tries no call twice.
std::shared_ptr<grpc::Channel> MakeHealthChannel(const ClientOptions& options);

}  // namespace vit::client

#endif  // MNIST_VIT_CLIENT_CONNECTION_H_
