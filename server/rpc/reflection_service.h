#ifndef MNIST_VIT_SERVER_RPC_REFLECTION_SERVICE_H_
#define MNIST_VIT_SERVER_RPC_REFLECTION_SERVICE_H_

#include <string>
#include <vector>

#include "server/rpc/call.h"

namespace vit {

// Server reflection, by which tools such as grpcurl call a server whose proto
// files they don't have: v1 and v1alpha. Not gRPC's own service, because that
// has a thread for each stream. Thread-safe.
class ReflectionService {
 public:
  // Describes these services, by their full names, and all that is compiled
  // into the program.
  explicit ReflectionService(std::vector<std::string> services);

  // Its methods; the service outlives their calls.
  void AddMethods(MethodTable* methods);

 private:
  template <typename Request, typename Response>
  class Handler;

  const std::vector<std::string> services_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_REFLECTION_SERVICE_H_
