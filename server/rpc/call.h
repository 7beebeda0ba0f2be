#ifndef MNIST_VIT_SERVER_RPC_CALL_H_
#define MNIST_VIT_SERVER_RPC_CALL_H_

#include <grpcpp/alarm.h>
#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/status/status.h"
#include "server/base/clock.h"
#include "server/rpc/admission.h"
#include "server/rpc/authenticator.h"
#include "server/rpc/event_loop.h"

namespace vit {

class Call;

// What one call of a method does. The loop's thread calls every function but
// the constructor's caller; the handler may use its call from any thread, and
// finishes it exactly once.
class CallHandler {
 public:
  virtual ~CallHandler() = default;

  // The call was let in. Reads the first message, by default.
  virtual void OnStart();
  // A message was read, after Call::Read.
  virtual void OnMessage(grpc::ByteBuffer& message) = 0;
  // There is no message: the client has sent its last, or is gone.
  virtual void OnClosed() = 0;
  // Call::Write is done; if not `ok`, the client is gone.
  virtual void OnWritten(bool /*ok*/) {}
  // The client is gone, its deadline has passed, or the call was cut off,
  // before it was finished.
  virtual void OnCancelled() {}
  // The server drains: read no more, answer what was read, and finish.
  virtual void OnDrain() {}

 protected:
  explicit CallHandler(Call* call) : call_(call) {}

  Call* call() const { return call_; }

 private:
  Call* const call_;
};

// A method that is served.
struct RpcMethod {
  // Makes what handles a call of it.
  std::function<std::unique_ptr<CallHandler>(Call*)> new_handler;
  bool is_stream = false;  // of several messages
  // Calls of it that may be under way at once; 0: as many as any.
  size_t max_calls = 0;
  // Answered also while the server drains, such as a health check.
  bool while_draining = false;
  // Answered also if tokens are asked for and there is none.
  bool without_token = false;
};

// All methods, by "/package.Service/Method".
using MethodTable = std::unordered_map<std::string, RpcMethod>;

// What all calls share; outlives them. The methods don't change any more.
struct CallContext {
  grpc::AsyncGenericService* service = nullptr;
  Admission* admission = nullptr;
  RpcObserver* observer = nullptr;
  Authenticator* authenticator = nullptr;  // null: calls need no token
  MethodTable methods;
  // Calls under way, of those methods that have a limit.
  std::unordered_map<const RpcMethod*, std::atomic<size_t>> limited;
};

// One RPC, of any method.
//
// A call comes to the server as bytes, whatever its method (gRPC's generic
// API). So the server decides about it when its headers are there, before it
// reads a message; it sees messages that cannot be parsed; and a new protocol
// is an entry in the table of methods.
//
// States and references. A call owns itself. It is made to wait for a client
// (Listen), and there until every event that it waits for has been reported:
//
//   arrived   gRPC has a call for it, or the server shuts down
//   over      gRPC is done with the call (AsyncNotifyWhenDone)
//   finished  the answer is sent, or lost
//   read, written, drain alarm: one more each while under way
//
// `events_` counts them; the last one destroys the call on the loop's thread.
// gRPC never reports `over` for a call that has not arrived (grpc#10136), so
// then nothing else is waited for. After Finish no other thread touches the
// call, because it may be gone.
class Call final : private AdmittedCall {
 public:
  // Makes a call that waits for the next client.
  static void Listen(CallContext* shared, EventLoop* loop);

  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // For the handler.

  // Asks for the next message, one at a time. On the loop's thread.
  void Read();
  // Sends a message, one at a time; `more` follow at once, so that it need not
  // be sent before them. Any thread.
  void Write(const grpc::ByteBuffer& message, bool more);
  // Ends the call. Any thread; the last use of the call.
  void Finish(const absl::Status& status);
  // Ends it with its only message and OK.
  void FinishWith(const grpc::ByteBuffer& message);

  // When it came.
  Clock::time_point received() const { return received_; }
  // Its deadline; time_point::max() if it has none.
  Clock::time_point deadline() const;
  // The same for all calls of one client, and most often for no others: of one
  // with a token, the token; of a local one, its connection; of another, its
  // address.
  uint64_t flow() const { return flow_; }
  // The client's share of the queue, by its token.
  int share() const { return share_; }
  // The name of the client's token; empty if it needed none.
  const std::string& client() const { return client_; }
  // What the client calls the request (x-request-id), or else a name that is
  // made up here, the same each time. The trailers tell the client. Any thread,
  // before the call is finished.
  std::string RequestId();
  // Of the client's traceparent (W3C), 32 hexadecimal digits; empty if it sent
  // none that is valid.
  std::string_view TraceId();
  EventLoop* loop() const { return loop_; }
  RpcObserver& observer() const { return *shared_->observer; }
  grpc::ServerContext& context() { return context_; }

 private:
  // Something that is asked of gRPC time and again, and the function to call
  // when it is done.
  class Tag final : public Event {
   public:
    Tag(Call* call, void (Call::*then)(bool)) : call_(call), then_(then) {}

    // To be given to gRPC. Any thread, before the call is finished.
    Event* Begin() {
      call_->events_.fetch_add(1, std::memory_order_relaxed);
      return this;
    }
    // The same for a thread that cannot know whether the call is about to go;
    // null if it is. Admission's lock holds the call until then.
    Event* BeginUnlessOver();
    void OnEvent(bool ok) override;

   private:
    Call* const call_;
    void (Call::* const then_)(bool);
  };

  Call(CallContext* shared, EventLoop* loop);
  ~Call() override;

  void OnArrival(bool ok);
  void OnOver(bool ok);
  void OnRead(bool ok);
  void OnWritten(bool ok);
  void OnFinished(bool /*ok*/) {}
  void OnDrainAlarm(bool ok);

  // Who calls, so far as the connection and the headers tell.
  void Identify();
  // Asks for a token, if one is needed.
  absl::Status Authenticate();
  // The value of a header that is there once; else empty.
  std::string_view Header(const char* name);
  // Lets the call in and gives it a handler; or says why not.
  absl::Status Start();
  absl::Status TakePlaceOfMethod();
  // False if it was finished before.
  bool BeginFinish();

  // AdmittedCall's.
  void CutOff() override { context_.TryCancel(); }
  void StartDraining() override;

  CallContext* const shared_;
  EventLoop* const loop_;
  grpc::GenericServerContext context_;
  grpc::GenericServerAsyncReaderWriter stream_{&context_};
  const RpcMethod* method_ = nullptr;
  bool holds_method_place_ = false;
  uint64_t flow_ = 0;
  int share_ = 1;
  std::string client_;
  std::string_view request_id_;  // the client's; empty if it sent none
  std::once_flag made_up_once_;
  std::string made_up_request_id_;
  Clock::time_point received_;
  std::unique_ptr<CallHandler> handler_;
  grpc::ByteBuffer message_;
  // For a call that drains only: gRPC makes one as if it were a library to
  // initialise.
  std::optional<grpc::Alarm> drain_alarm_;
  Tag arrived_{this, &Call::OnArrival};
  Tag over_{this, &Call::OnOver};
  Tag finished_{this, &Call::OnFinished};
  Tag read_{this, &Call::OnRead};
  Tag written_{this, &Call::OnWritten};
  Tag drain_{this, &Call::OnDrainAlarm};
  std::atomic<bool> finishing_{false};
  // Events that are yet to be reported: arrived, over and finished at first.
  std::atomic<int> events_{3};
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_CALL_H_
