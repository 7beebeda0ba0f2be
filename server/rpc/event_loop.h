#ifndef MNIST_VIT_SERVER_RPC_EVENT_LOOP_H_
#define MNIST_VIT_SERVER_RPC_EVENT_LOOP_H_

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <atomic>
#include <cstddef>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "server/base/clock.h"
#include "server/base/mutex.h"

namespace vit {

// Something that gRPC was asked to do, and whose end the loop reports once.
// gRPC knows it by its address, so it stays where it is until then.
class Event {
 public:
  virtual ~Event() = default;
  // `ok` is false if it was not done, because its call has ended.
  virtual void OnEvent(bool ok) = 0;
};

// Work that an EventLoop runs once it has nothing else to do.
class IdleWork {
 public:
  virtual ~IdleWork() = default;
  virtual void Run() = 0;
};

// A completion queue of gRPC and the one thread that takes from it. That thread
// waits for the sockets, reads the requests, and learns what became of the
// answers. It is one thread, because threads that share a queue take turns in
// waiting and wake each other several times a call.
//
// A second after the last connection has gone, the thread rests outside gRPC,
// from the next ping on. gRPC 1.51 waits for the sockets of all queues of a
// process together, so that a thread that waits in a queue of its own takes the
// events of the others, and wakes their threads.
class EventLoop {
 public:
  // `index` tells the loops of a server apart.
  explicit EventLoop(std::unique_ptr<grpc::ServerCompletionQueue> queue,
                     size_t index = 0);

  // Waits for the end of all calls, so grpc::Server::Shutdown comes first. From
  // here on no other thread may begin anything on a call.
  ~EventLoop();

  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  grpc::ServerCompletionQueue* queue() const { return queue_.get(); }
  size_t index() const { return index_; }

  // Begins to report events. Once the server has started and the calls wait.
  void Start();

  // Runs `work` once no event waits to be reported, or kMaxEventsBeforeIdleWork
  // others were reported, however busy they keep the loop. One work at a time;
  // a work that waits already stays where it is. On the loop's thread.
  void RunWhenIdle(IdleWork* work);
  static constexpr int kMaxEventsBeforeIdleWork = 16;

  // So many connections are open from now on. Each may bring events to this
  // queue. Before the first call, the loop assumes that some are open. Any
  // thread.
  void OnConnections(size_t open) ABSL_LOCKS_EXCLUDED(mutex_);

  // A call is made, to wait for a client, or goes. On the loop's thread, or
  // before it starts.
  void OnCallMade() { ++calls_; }
  void OnCallGone() { --calls_; }

  // Asks the loop to show that it runs. Any thread but the loop's.
  void Ping() ABSL_LOCKS_EXCLUDED(mutex_);
  // How long the loop has not answered the last ping; zero if it has.
  Clock::duration Silence() const;
  // The same; if it has answered, how long it took.
  Clock::duration Lag() const;

 private:
  // Calls a member function of the loop's.
  class LoopEvent final : public Event {
   public:
    LoopEvent(EventLoop* loop, void (EventLoop::*then)())
        : loop_(loop), then_(then) {}
    void OnEvent(bool /*ok*/) override { (loop_->*then_)(); }

   private:
    EventLoop* const loop_;
    void (EventLoop::* const then_)();
  };

  void Run();
  // Nothing can come but what others ask for, and wake it for.
  bool MayRest() const;
  void Rest() ABSL_LOCKS_EXCLUDED(mutex_);
  void Wake() ABSL_LOCKS_EXCLUDED(mutex_);
  void RunIdleWork();
  void Stop() { stopping_ = true; }
  void OnPing();

  const std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  const size_t index_;
  std::thread thread_;
  grpc::Alarm stop_alarm_;
  LoopEvent stop_{this, &EventLoop::Stop};
  // Rest.
  Mutex mutex_;
  CondVar changed_;
  std::atomic<size_t> connections_{1};
  std::atomic<Clock::rep> rests_from_{0};
  std::atomic<bool> stop_asked_{false};
  // The watchdog's ping.
  grpc::Alarm ping_alarm_;
  LoopEvent ping_{this, &EventLoop::OnPing};
  std::atomic<bool> pinged_{false};
  std::atomic<Clock::rep> ping_time_{0};
  std::atomic<Clock::rep> lag_{0};
  // The loop's thread's.
  IdleWork* idle_work_ = nullptr;
  int events_before_idle_work_ = 0;
  int calls_ = 0;
  bool stopping_ = false;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_EVENT_LOOP_H_
