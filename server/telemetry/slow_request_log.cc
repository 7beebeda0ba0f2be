#include "server/telemetry/slow_request_log.h"

#include <utility>
#include <vector>

namespace vit {

SlowRequestLog::SlowRequestLog(Clock::duration limit, Write write)
    : limit_(limit > Clock::duration(0) ? limit : Clock::duration::max()),
      write_(std::move(write)) {}

SlowRequestLog::~SlowRequestLog() {
  MutexLock lock(&mutex_);
  WriteLeftOut();
}

void SlowRequestLog::Add(const SlowRequest& request, Clock::time_point now) {
  MutexLock lock(&mutex_);
  if (lines_.Take(now) > Clock::duration(0)) {
    ++left_out_;
    return;
  }
  WriteLeftOut();
  if (!WriteRequest(request)) ++left_out_;
}

bool SlowRequestLog::WriteRequest(const SlowRequest& request) {
  const std::string code = absl::StatusCodeToString(request.code);
  std::vector<LogField> fields = {
      {"method", request.method},
      {"code", std::string_view(code)},
      {"total_seconds", Seconds(request.total)},
      {"queue_seconds", Seconds(request.queue)},
      {"inference_seconds", Seconds(request.inference)},
      {"batch_size", int64_t{request.batch_size}}};
  const auto add = [&fields](std::string_view name, std::string_view text) {
    if (!text.empty()) fields.push_back({name, text});
  };
  add("peer", request.peer);
  add("client", request.client);
  add("request_id", request.request_id);
  add("trace_id", request.trace_id);
  return write_({.severity = Severity::kWarning,
                 .message = "slow request",
                 .fields = fields});
}

void SlowRequestLog::WriteLeftOut() {
  if (left_out_ == 0) return;
  const LogField count[] = {{"requests", left_out_}};
  if (write_({.severity = Severity::kWarning,
              .message = "slow requests that were left out",
              .fields = count})) {
    left_out_ = 0;
  }
}

}  // namespace vit
