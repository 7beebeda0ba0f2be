#include "server/rpc/event_loop.h"

#include <grpc/support/time.h>

#include <chrono>
#include <utility>

namespace vit {

EventLoop::EventLoop(std::unique_ptr<grpc::ServerCompletionQueue> queue)
    : queue_(std::move(queue)) {}

EventLoop::~EventLoop() {
  alarm_.Set(queue_.get(), std::chrono::system_clock::now(), &stop_);
  if (thread_.joinable()) {
    thread_.join();
  } else {
    Run();
  }
}

void EventLoop::Start() {
  thread_ = std::thread([this] { Run(); });
}

void EventLoop::PutOff(Event* event) {
  Event* const other = std::exchange(put_off_, event);
  told_before_ = 0;
  if (other != nullptr) other->OnEvent(false);
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
                                     put_off_ != nullptr ? now : never)) !=
         Status::SHUTDOWN) {
    const bool got_event = status == Status::GOT_EVENT;
    if (got_event) static_cast<Event*>(tag)->OnEvent(ok);
    // Not for ever, however busy others keep the loop.
    if (put_off_ != nullptr && (!got_event || ++told_before_ > kMostBefore)) {
      std::exchange(put_off_, nullptr)->OnEvent(!got_event);
    }
    // Nothing may be begun on a queue that is shut down.
    if (open && stopping_ && calls_ == 0) {
      open = false;
      queue_->Shutdown();
    }
  }
}

}  // namespace vit
