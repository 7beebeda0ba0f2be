#ifndef MNIST_VIT_SERVER_TELEMETRY_SLOW_REQUEST_LOG_H_
#define MNIST_VIT_SERVER_TELEMETRY_SLOW_REQUEST_LOG_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "server/base/clock.h"
#include "server/base/mutex.h"
#include "server/base/rate_limit.h"
#include "server/telemetry/log.h"

namespace vit {

// What the log says of a request. Texts that are empty are left out; none is an
// image's bytes or a token.
struct SlowRequest {
  std::string_view method;
  absl::StatusCode code = absl::StatusCode::kOk;
  Clock::duration total{0};
  Clock::duration queue{0};
  Clock::duration inference{0};
  int batch_size = 0;  // 0: it was not computed
  std::string_view peer;
  std::string_view client;  // the name of its token
  std::string_view request_id;
  std::string_view trace_id;
};

// Writes a line for each request that takes too long, at most kLinesPerSecond;
// what is left out is counted, and said before the next line or at the end. A
// line is also left out if nobody reads the log, so that no request waits for
// it. Thread-safe.
class SlowRequestLog {
 public:
  static constexpr int kLinesPerSecond = 10;

  // Writes a line, or returns false.
  using Write = std::function<bool(const LogEntry& entry)>;

  // `limit`: what takes longer is slow; zero: nothing is.
  explicit SlowRequestLog(Clock::duration limit,
                          Write write = LogUnlessBlocked);
  ~SlowRequestLog();

  SlowRequestLog(const SlowRequestLog&) = delete;
  SlowRequestLog& operator=(const SlowRequestLog&) = delete;

  bool IsSlow(Clock::duration total) const { return total > limit_; }

  void Add(const SlowRequest& request, Clock::time_point now)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  bool WriteRequest(const SlowRequest& request)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteLeftOut() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Clock::duration limit_;
  const Write write_;
  Mutex mutex_;
  RateLimit lines_ ABSL_GUARDED_BY(mutex_){kLinesPerSecond};
  int64_t left_out_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_TELEMETRY_SLOW_REQUEST_LOG_H_
