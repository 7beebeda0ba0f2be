#ifndef MNIST_VIT_SERVER_SERVICES_SLOW_REQUEST_H_
#define MNIST_VIT_SERVER_SERVICES_SLOW_REQUEST_H_

#include "absl/status/status.h"
#include "server/base/clock.h"
#include "server/batching/task.h"
#include "server/rpc/call.h"
#include "server/services/service_context.h"
#include "server/telemetry/metrics.h"

namespace vit {

// Counts a request that is answered, and logs it if it was slow. `timing` is
// that of its last image; `call` is not finished. Any thread.
void OnAnswered(const ServiceContext& service, Method method,
                absl::StatusCode code, const TaskTiming& timing,
                Clock::duration total, Call* call);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_SERVICES_SLOW_REQUEST_H_
