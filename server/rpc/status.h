#ifndef MNIST_VIT_SERVER_RPC_STATUS_H_
#define MNIST_VIT_SERVER_RPC_STATUS_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "server/base/clock.h"

namespace vit {

// Between gRPC's status and time and ours.

// The codes of absl::Status and gRPC are the same numbers.
grpc::Status ToGrpcStatus(const absl::Status& status);

// Where the status says when to try again (RetryAfter), tells the client so in
// the trailers: gRPC's own retries wait that long (gRFC A6). Before the call is
// finished.
void AddRetryHint(const absl::Status& status, grpc::ServerContext& context);

// The call's deadline by the server's clock; time_point::max() if it has none.
Clock::time_point Deadline(const grpc::ServerContext& context);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_STATUS_H_
