#include "server/rpc/event_loop.h"

#include <grpc/support/time.h>

#include <chrono>
#include <utility>

namespace vit {

EventLoop::EventLoop(std::unique_ptr<grpc::ServerCompletionQueue> queue,
                     size_t index)
    : queue_(std::move(queue)), index_(index) {}

EventLoop::~EventLoop() {
  stop_alarm_.Set(queue_.get(), std::chrono::system_clock::now(), &stop_);
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
  Status status = Status::TIMEOUT;
  while ((status = queue_->AsyncNext(&tag, &ok,
                                     idle_work_ != nullptr ? now : never)) !=
         Status::SHUTDOWN) {
    const bool got_event = status == Status::GOT_EVENT;
    if (got_event) static_cast<Event*>(tag)->OnEvent(ok);
    if (idle_work_ != nullptr &&
        (!got_event || ++events_before_idle_work_ > kMaxEventsBeforeIdleWork)) {
      RunIdleWork();
    }
    // Nothing may be begun on a queue that is shut down.
    if (open && stopping_ && calls_ == 0 && !pinged_.load()) {
      open = false;
      queue_->Shutdown();
    }
  }
}

void EventLoop::Ping() {
  if (pinged_.exchange(true)) return;
  ping_time_.store(Clock::now().time_since_epoch().count());
  ping_alarm_.Set(queue_.get(), std::chrono::system_clock::now(), &ping_);
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
