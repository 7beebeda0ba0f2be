#include "server/watchdog.h"

#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_format.h"
#include "server/telemetry/log.h"

namespace vit {
namespace {

constexpr Clock::duration kInterval = std::chrono::milliseconds(20);
constexpr int kTicksPerLook = 12;
constexpr int kTicksPerPing = 2;
// What part of the time gRPC's executor is busy if something keeps it.
constexpr double kBusyExecutor = 0.9;
// How long another thread that reads from connections takes no notice of the
// rest if something keeps it.
constexpr Clock::duration kStall = std::chrono::milliseconds(60);
// A tick that takes longer means that the process was stopped.
constexpr Clock::duration kLongestTick = std::chrono::seconds(1);
// By how much of the budget the process has grown, in percent, when half-sent
// messages are cut off, and when connections are ended.
constexpr int kCutOffPercent = 20;
constexpr int kEndPercent = 30;
// Of the limit, before the server counts as stalled.
constexpr int kStalledPart = 3;

}  // namespace

Watchdog::Watchdog(Clock::duration limit, std::vector<EventLoop*> loops,
                   WorkerPool* pool, std::vector<Admission*> admissions,
                   ServingState* state, Metrics* metrics,
                   const OwnMemory* own_memory, int64_t budget_bytes,
                   OnHung on_hung, ConnectionAcceptor* acceptor)
    : limit_(limit),
      loops_(std::move(loops)),
      pool_(pool),
      admissions_(std::move(admissions)),
      state_(state),
      metrics_(metrics),
      own_memory_(own_memory),
      budget_bytes_(budget_bytes),
      on_hung_(std::move(on_hung)),
      acceptor_(acceptor),
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
  for (int tick = 1;; ++tick) {
    {
      MutexLock lock(&mutex_);
      if (!stopping_) changed_.WaitUntil(&mutex_, Clock::now() + kInterval);
      if (stopping_) return;
    }
    // A process that was stopped and goes on has not hung: nobody could do
    // anything meanwhile, so that time does not count, neither now nor later.
    const Clock::time_point now = Clock::now();
    if (now - last >= kLongestTick) on_time_since = now;
    last = now;
    WatchMemory(now);
    if (tick % kTicksPerPing == 0) {
      PingLoops();
      executor_is_busy_ = executor_.Measure(now) >= kBusyExecutor;
    }
    WatchStalls(now, now - on_time_since);
    if (tick % kTicksPerLook == 0) Look(now, now - on_time_since);
  }
}

void Watchdog::WatchMemory(Clock::time_point now) {
  const int64_t grown = ResidentMemory() - own_memory_->bytes();
  if (grown < budget_bytes_ * kCutOffPercent / 100) return;
  // What grows on is no message: headers without end, perhaps.
  if (acceptor_ != nullptr && grown > budget_bytes_ * kEndPercent / 100) {
    acceptor_->connections().RelievePressure();
  }
  // What a loop had no time to read is not half sent.
  const Clock::time_point loops_were_at = now - PingLoops();
  size_t cut = 0;
  for (Admission* admission : admissions_) {
    cut += admission->RelievePressure(loops_were_at);
  }
  // Otherwise what was freed would count as pressure again.
  malloc_trim(0);
  if (cut == 0) return;
  Log(absl::StrFormat(
      "memory: grown by %.0f MiB, so %d half-sent messages were cut off",
      static_cast<double>(grown) / (1 << 20), cut));
}

Clock::duration Watchdog::PingLoops() const {
  Clock::duration lag{0};
  for (EventLoop* loop : loops_) {
    lag = std::max(lag, loop->Lag());
    loop->Ping();
  }
  return lag;
}

void Watchdog::WatchStalls(Clock::time_point now, Clock::duration on_time) {
  if (acceptor_ == nullptr) return;
  acceptor_->connections().OnTick(IsStalled(now, on_time));
}

bool Watchdog::IsStalled(Clock::time_point now, Clock::duration on_time) const {
  if (executor_is_busy_) return true;
  Clock::duration longest = acceptor_->LongestHandOver(now);
  for (const EventLoop* loop : loops_) {
    longest = std::max(longest, loop->Silence());
  }
  return std::min(longest, on_time) >= kStall;
}

void Watchdog::Look(Clock::time_point now, Clock::duration on_time) {
  for (Admission* admission : admissions_) admission->CutOffLate(now);
  const Clock::duration lag = PingLoops();
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
