#ifndef MNIST_VIT_SERVER_RPC_REFLECTION_SERVICE_H_
#define MNIST_VIT_SERVER_RPC_REFLECTION_SERVICE_H_

#include <memory>
#include <string>
#include <vector>

#include "server/rpc/call.h"

namespace google::protobuf {
class DescriptorPool;
}  // namespace google::protobuf

namespace vit {

// Server reflection, by which tools such as grpcurl call a server whose proto
// files they don't have: v1 and v1alpha. Not gRPC's own service, because that
// has a thread for each stream. Thread-safe.
class ReflectionService {
 public:
  // Lists these services, by their full names. Describes the files that they
  // and reflection itself are in, and all that those import.
  explicit ReflectionService(std::vector<std::string> services);
  ~ReflectionService();

  // Its methods; the service outlives their calls.
  void AddMethods(MethodTable* methods);

 private:
  template <typename Request, typename Response>
  class Handler;

  const std::vector<std::string> services_;
  // Not the program's own pool, which would remember every unknown name that a
  // peer ever asks it for.
  const std::unique_ptr<google::protobuf::DescriptorPool> pool_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_REFLECTION_SERVICE_H_
