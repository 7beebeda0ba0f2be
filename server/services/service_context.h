#ifndef MNIST_VIT_SERVER_SERVICES_SERVICE_CONTEXT_H_
#define MNIST_VIT_SERVER_SERVICES_SERVICE_CONTEXT_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/base/clock.h"
#include "server/batching/model_queue.h"
#include "server/batching/worker_pool.h"
#include "server/services/arrival_burst.h"
#include "server/telemetry/metrics.h"
#include "server/telemetry/slow_request_log.h"

namespace vit {

// Finds what serves a model and one of its versions, either of which may be
// empty. Whoever holds the result keeps that version served. NotFound, listing
// what there is, for an unknown one. Thread-safe.
using PickModel = std::function<absl::StatusOr<std::shared_ptr<ModelQueue>>(
    const std::string& model, const std::string& version)>;

// What every call needs. All of it outlives the calls.
struct ServiceContext {
  PickModel pick_model;
  WorkerPool* pool = nullptr;
  Metrics* metrics = nullptr;
  // Null: no request is slow.
  std::unique_ptr<SlowRequestLog> slow_requests;
  int max_images_per_call = 256;
  // For calls without a deadline; and the most that any may have. Zero: none.
  Clock::duration default_deadline{0};
  Clock::duration max_deadline{0};
  // One for each event loop, by its index.
  std::vector<std::unique_ptr<ArrivalBurst>> bursts;

  // The deadline that the server keeps to.
  Clock::time_point Bound(Clock::time_point deadline,
                          Clock::time_point received) const;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_SERVICES_SERVICE_CONTEXT_H_
