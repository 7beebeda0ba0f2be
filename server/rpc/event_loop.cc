#include "server/rpc/event_loop.h"

#include <grpc/support/time.h>

#include <chrono>
#include <utility>

namespace vit {
namespace {

// gRPC may be yet to learn that the last connection has gone.
constexpr Clock::duration kLinger = std::chrono::seconds(1);

}  // namespace

EventLoop::EventLoop(std::unique_ptr<grpc::ServerCompletionQueue> queue,
                     size_t index)
    : queue_(std::move(queue)), index_(index) {}

EventLoop::~EventLoop() {
  stop_alarm_.Set(queue_.get(), std::chrono::system_clock::now(), &stop_);
  stop_asked_.store(true);
  Wake();
  if (thread_.joinable()) {
    thread_.join();
  } else {
    Run();
  }
}

void EventLoop::Start() {
  thread_ = std::thread([this] { Run(); });
}

void EventLoop::RunWhenIdle(IdleWork* work) {
  if (idle_work_ == work) return;
  RunIdleWork();
  idle_work_ = work;
}

void EventLoop::RunIdleWork() {
  events_before_idle_work_ = 0;
  if (idle_work_ != nullptr) std::exchange(idle_work_, nullptr)->Run();
}

void EventLoop::Run() {
  using Status = grpc::CompletionQueue::NextStatus;
  const gpr_timespec now = gpr_inf_past(GPR_CLOCK_MONOTONIC);
  const gpr_timespec never = gpr_inf_future(GPR_CLOCK_MONOTONIC);
  void* tag = nullptr;
  bool ok = false;
  bool open = true;
  while (true) {
    const bool waits = idle_work_ == nullptr && !MayRest();
    const Status status = queue_->AsyncNext(&tag, &ok, waits ? never : now);
    if (status == Status::SHUTDOWN) return;
    const bool got_event = status == Status::GOT_EVENT;
    if (got_event) static_cast<Event*>(tag)->OnEvent(ok);
    if (idle_work_ != nullptr &&
        (!got_event || ++events_before_idle_work_ > kMaxEventsBeforeIdleWork)) {
      RunIdleWork();
    }
    if (!got_event && MayRest()) Rest();
    // Nothing may be begun on a queue that is shut down.
    if (open && stopping_ && calls_ == 0 && !pinged_.load()) {
      open = false;
      queue_->Shutdown();
    }
  }
}

bool EventLoop::MayRest() const {
  // One call waits for a client.
  return connections_.load() == 0 && calls_ <= 1 && idle_work_ == nullptr &&
         !stop_asked_.load() &&
         Clock::now().time_since_epoch().count() >= rests_from_.load();
}

void EventLoop::Rest() {
  MutexLock lock(&mutex_);
  while (MayRest() && !pinged_.load()) changed_.Wait(&mutex_);
}

void EventLoop::Wake() {
  // Under the lock, so that the loop has not looked and is yet to wait.
  MutexLock lock(&mutex_);
  changed_.NotifyAll();
}

void EventLoop::OnConnections(size_t open) {
  if (open == 0) {
    rests_from_.store((Clock::now() + kLinger).time_since_epoch().count());
  }
  connections_.store(open);
  if (open > 0) Wake();
}

void EventLoop::Ping() {
  if (pinged_.exchange(true)) return;
  ping_time_.store(Clock::now().time_since_epoch().count());
  ping_alarm_.Set(queue_.get(), std::chrono::system_clock::now(), &ping_);
  Wake();
}

void EventLoop::OnPing() {
  lag_.store(Clock::now().time_since_epoch().count() - ping_time_.load());
  pinged_.store(false);
}

Clock::duration EventLoop::Silence() const {
  if (!pinged_.load()) return Clock::duration::zero();
  return Clock::now().time_since_epoch() - Clock::duration(ping_time_.load());
}

Clock::duration EventLoop::Lag() const {
  return pinged_.load() ? Silence() : Clock::duration(lag_.load());
}

}  // namespace vit
