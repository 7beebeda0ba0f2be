#ifndef MNIST_VIT_SERVER_SERVICES_MODELS_SERVICE_H_
#define MNIST_VIT_SERVER_SERVICES_MODELS_SERVICE_H_

#include <functional>
#include <vector>

#include "server/models/model_repository.h"
#include "server/rpc/call.h"

namespace vit {

// All versions of all models, by name and version; thread-safe.
using ListModels = std::function<std::vector<ModelStatus>()>;

// Adds the methods of proto/vit/v1/models.proto.
void AddModelsMethods(const ListModels& list, MethodTable* methods);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_SERVICES_MODELS_SERVICE_H_
