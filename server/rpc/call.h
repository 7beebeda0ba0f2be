#ifndef MNIST_VIT_SERVER_RPC_CALL_H_
#define MNIST_VIT_SERVER_RPC_CALL_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "server/rpc/event_loop.h"
#include "server/rpc/status.h"

namespace vit {

// A call of gRPC's asynchronous API: made to wait for a client, and there until
// gRPC is done with it; then it destroys itself. Derived classes ask the
// service for the call as they are made, with `arrived`, and once it is there
// finish it exactly once.
//
// The functions that events are told to are called by the loop's thread.
class Call {
 public:
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

 protected:
  // Something that is asked of gRPC or of the loop, time and again, and the
  // function that is told when it is done.
  class Step final : public Event {
   public:
    template <typename Derived>
    Step(Derived* call, void (Derived::*then)(bool))
        : call_(call), then_(static_cast<void (Call::*)(bool)>(then)) {}

    // What to give to them. Any thread, before the call is finished.
    Event* Begin() {
      call_->events_.fetch_add(1, std::memory_order_relaxed);
      return this;
    }

    void OnEvent(bool ok) override {
      Call* const call = call_;
      (call->*then_)(ok);
      call->EndEvent();
    }

   private:
    friend class Call;

    Call* const call_;
    void (Call::* const then_)(bool);
  };

  explicit Call(EventLoop* loop) : loop_(loop) {
    loop_->OnCallMade();
    context_.AsyncNotifyWhenDone(&over_);
  }

  virtual ~Call() { loop_->OnCallGone(); }

  // Makes the call that waits for the next client.
  virtual void Renew() = 0;
  // A client has called.
  virtual void OnArrived() = 0;
  // The client has gone, or its deadline has passed, before it was answered.
  virtual void OnCancelled() {}

  Event* arrived() { return &arrived_; }
  // For the operation that finishes the call. The call may be gone as soon as
  // gRPC has it.
  Event* finished() { return &finished_; }

  EventLoop* loop() const { return loop_; }
  grpc::CompletionQueue* queue() const { return loop_->queue(); }

  grpc::ServerContext context_;

 private:
  void OnArrival(bool ok) {
    if (ok) {
      Renew();
      OnArrived();
    } else {  // the server shuts down: nothing else will be told
      events_.fetch_sub(2, std::memory_order_relaxed);
    }
  }

  void OnOver(bool /*ok*/) {
    if (context_.IsCancelled()) OnCancelled();
  }

  void OnFinished(bool /*ok*/) {}

  void EndEvent() {
    if (events_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
  }

  EventLoop* const loop_;
  Step arrived_{this, &Call::OnArrival};
  Step over_{this, &Call::OnOver};
  Step finished_{this, &Call::OnFinished};
  // Of those that are yet to be told, the three above included.
  std::atomic<int> events_{3};
};

// Makes a call of this kind, which belongs to itself.
template <typename Kind, typename... Arguments>
void Wait(Arguments&&... arguments) {
  [[maybe_unused]] const Kind* call =
      std::make_unique<Kind>(std::forward<Arguments>(arguments)...).release();
}

// A call of one request and one answer.
template <typename Request, typename Response>
class UnaryCall : public Call {
 protected:
  explicit UnaryCall(EventLoop* loop) : Call(loop) {}

  // Sends the response, or why there is none. Any thread; the last use of the
  // call.
  void Finish(const absl::Status& status) {
    if (status.ok()) {
      writer_.Finish(response_, grpc::Status::OK, finished());
    } else {
      writer_.FinishWithError(ToGrpcStatus(status), finished());
    }
  }

  Request request_;
  Response response_;
  grpc::ServerAsyncResponseWriter<Response> writer_{&context_};
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_CALL_H_
