#include "server/watchdog.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_format.h"

namespace vit {
namespace {

constexpr Clock::duration kInterval = std::chrono::milliseconds(250);
// Of the limit, before the server counts as stalled.
constexpr int kStalledPart = 3;

}  // namespace

Watchdog::Watchdog(Clock::duration limit, std::vector<EventLoop*> loops,
                   WorkerPool* pool, Admission* admission, ServingState* state,
                   Metrics* metrics, OnHung on_hung)
    : limit_(limit),
      loops_(std::move(loops)),
      pool_(pool),
      admission_(admission),
      state_(state),
      metrics_(metrics),
      on_hung_(std::move(on_hung)),
      thread_([this] { Run(); }) {}

Watchdog::~Watchdog() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
}

void Watchdog::Run() {
  Clock::time_point last = Clock::now();
  Clock::time_point on_time_since = last;
  while (true) {
    {
      MutexLock lock(&mutex_);
      if (!stopping_) changed_.WaitUntil(&mutex_, Clock::now() + kInterval);
      if (stopping_) return;
    }
    // A process that was stopped and goes on has not hung: nobody could do
    // anything meanwhile, so that time does not count, neither now nor later.
    const Clock::time_point now = Clock::now();
    if (now - last >= 4 * kInterval) on_time_since = now;
    Look(now, now - on_time_since);
    last = now;
  }
}

void Watchdog::Look(Clock::time_point now, Clock::duration on_time) {
  admission_->CutOffLate(now);
  Clock::duration lag{0};
  for (EventLoop* loop : loops_) {
    lag = std::max(lag, loop->Lag());
    loop->Ping();
  }
  metrics_->OnHeartbeat(lag, pool_->OldestWait(now));
  if (limit_ == Clock::duration::zero()) return;
  const Clock::duration overrun = pool_->LongestOverrun(now);
  const Clock::duration longest = std::max(lag, overrun);
  const Clock::duration stuck = std::min(longest, on_time);
  if (stuck > limit_ / kStalledPart) {
    state_->SetStalled(true);
  } else if (longest <= limit_ / kStalledPart) {
    state_->SetStalled(false);
  }
  if (stuck > limit_ && on_hung_) {
    on_hung_(
        absl::StrFormat("%s for %.0f s, longer than --watchdog_seconds allows",
                        lag > overrun ? "an event loop has not answered"
                                      : "a worker has not finished its batch",
                        Seconds(stuck)));
  }
}

}  // namespace vit
