#include "server/event_loop.h"

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

void EventLoop::Run() {
  void* tag = nullptr;
  bool ok = false;
  bool open = true;
  while (queue_->Next(&tag, &ok)) {
    static_cast<Event*>(tag)->OnEvent(ok);
    // Nothing may be begun on a queue that is shut down.
    if (open && stopping_ && calls_ == 0) {
      open = false;
      queue_->Shutdown();
    }
  }
}

}  // namespace vit
