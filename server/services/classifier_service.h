#ifndef MNIST_VIT_SERVER_SERVICES_CLASSIFIER_SERVICE_H_
#define MNIST_VIT_SERVER_SERVICES_CLASSIFIER_SERVICE_H_

#include <cstddef>

#include "server/rpc/call.h"
#include "server/services/service_context.h"

namespace vit {

// Adds the methods of proto/vit/v1/classifier.proto. At most `max_explanations`
// calls of Explain are under way at once. The context outlives their calls.
void AddClassifierMethods(ServiceContext* context, size_t max_explanations,
                          MethodTable* methods);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_SERVICES_CLASSIFIER_SERVICE_H_
