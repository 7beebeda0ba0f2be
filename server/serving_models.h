#ifndef MNIST_VIT_SERVER_SERVING_MODELS_H_
#define MNIST_VIT_SERVER_SERVING_MODELS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "server/batching/worker_pool.h"
#include "server/limits/memory_budget.h"
#include "server/models/model_repository.h"
#include "server/options/options.h"
#include "server/services/service_context.h"
#include "server/telemetry/metrics.h"

namespace vit {

// The models that the options ask for, loaded, each version with a queue of the
// pool's. Fails if one of them cannot be served at the start. The pool and the
// metrics outlive the models.
absl::StatusOr<std::unique_ptr<ModelRepository>> LoadServingModels(
    const ServerOptions& options, WorkerPool* pool, Metrics* metrics);

// Picks from a repository, which outlives it. The calls' sequence decides which
// of them the canary gets.
PickModel PickFrom(const ModelRepository* repository);

// What all models that serve now may make a peer's calls cost.
MemoryBudget BudgetFor(const ServerOptions& options,
                       const ModelSnapshot& models);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_SERVING_MODELS_H_
