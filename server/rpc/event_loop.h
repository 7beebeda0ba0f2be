#ifndef MNIST_VIT_SERVER_RPC_EVENT_LOOP_H_
#define MNIST_VIT_SERVER_RPC_EVENT_LOOP_H_

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <memory>
#include <thread>

namespace vit {

// What gRPC was asked to do, and tells of once when it is done. gRPC knows it
// by its address, so it stays where it is until then.
class Event {
 public:
  virtual ~Event() = default;
  // `ok` is false if it was not done, for its call has ended.
  virtual void OnEvent(bool ok) = 0;
};

// A completion queue and the one thread that takes from it: that waits for the
// sockets, reads the requests and is told what became of the answers. One, for
// threads that share a queue take turns in waiting, and wake each other for it
// several times a call.
class EventLoop {
 public:
  explicit EventLoop(std::unique_ptr<grpc::ServerCompletionQueue> queue);

  // Waits for the end of all calls, so grpc::Server::Shutdown comes first. From
  // here on no other thread may begin anything on a call.
  ~EventLoop();

  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  grpc::ServerCompletionQueue* queue() const { return queue_.get(); }

  // Begins to tell events. Once the server has started and the calls wait.
  void Start();

  // Has the event told, with `ok`, once no other waits to be told; or, without
  // it, as soon as a next one is put off or kMostBefore others were told. For
  // work that would hold up the others. On the loop's thread.
  void PutOff(Event* event);
  static constexpr int kMostBefore = 16;

  // A call is made, to wait for a client, or goes. On the loop's thread, or
  // before it starts.
  void OnCallMade() { ++calls_; }
  void OnCallGone() { --calls_; }

 private:
  class StopEvent final : public Event {
   public:
    explicit StopEvent(EventLoop* loop) : loop_(loop) {}
    void OnEvent(bool /*ok*/) override { loop_->stopping_ = true; }

   private:
    EventLoop* const loop_;
  };

  void Run();

  const std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  std::thread thread_;
  grpc::Alarm alarm_;
  StopEvent stop_{this};
  // The loop's thread's.
  Event* put_off_ = nullptr;
  int told_before_ = 0;  // since it was put off
  int calls_ = 0;
  bool stopping_ = false;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_EVENT_LOOP_H_
