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
                   WorkerPool* pool, std::vector<Admission*> admissions,
                   ServingState* state,
                   Metrics* metrics, OnHung on_hung)
    : limit_(limit),
      loops_(std::move(loops)),
      pool_(pool),
      admissions_(std::move(admissions)),
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
  while (true) {
    {
      MutexLock lock(&mutex_);
      if (!stopping_) changed_.WaitUntil(&mutex_, Clock::now() + kInterval);
      if (stopping_) return;
    }
    // A process that was stopped and goes on has not hung.
    const Clock::time_point now = Clock::now();
    Look(now, /*trusted=*/now - last < 4 * kInterval);
    last = now;
  }
}

void Watchdog::Look(Clock::time_point now, bool trusted) {
  for (Admission* admission : admissions_) admission->CutOffLate(now);
  Clock::duration lag{0};
  for (EventLoop* loop : loops_) {
    lag = std::max(lag, loop->Lag());
    loop->Ping();
  }
  metrics_->OnHeartbeat(lag, pool_->OldestWait(now));
  if (limit_ == Clock::duration::zero() || !trusted) return;
  const Clock::duration overrun = pool_->LongestOverrun(now);
  const Clock::duration stuck = std::max(lag, overrun);
  state_->SetStalled(stuck > limit_ / kStalledPart);
  if (stuck > limit_ && on_hung_) {
    on_hung_(absl::StrFormat(
        "%s for %.0f s, longer than --watchdog_seconds allows",
        lag > overrun ? "an event loop has not answered"
                      : "a worker has not finished its batch",
        Seconds(stuck)));
  }
}

}  // namespace vit
