#include "server/services/slow_request.h"

#include <string>

#include "server/services/request.h"

namespace vit {
namespace {

void LogSlow(const ServiceContext& service, Method method,
             absl::StatusCode code, const TaskTiming& timing,
             Clock::duration total, Call* call) {
  const std::string peer = call->context().peer();
  const std::string request_id = call->RequestId();
  service.slow_requests->Add({.method = MethodName(method),
                              .code = code,
                              .total = total,
                              .queue = timing.queue,
                              .inference = timing.inference,
                              .batch_size = timing.batch_size,
                              .peer = peer,
                              .client = call->client(),
                              .request_id = request_id,
                              .trace_id = call->TraceId()},
                             Clock::now());
}

}  // namespace

void OnAnswered(const ServiceContext& service, Method method,
                absl::StatusCode code, const TaskTiming& timing,
                Clock::duration total, Call* call) {
  service.metrics->OnRequest(method, code, total);
  if (service.slow_requests == nullptr ||
      !service.slow_requests->IsSlow(total)) {
    return;
  }
  // Without memory there is no line.
  WithinMemory([&] {
    LogSlow(service, method, code, timing, total, call);
  }).IgnoreError();
}

}  // namespace vit
