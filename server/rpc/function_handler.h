#ifndef MNIST_VIT_SERVER_RPC_FUNCTION_HANDLER_H_
#define MNIST_VIT_SERVER_RPC_FUNCTION_HANDLER_H_

#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/rpc/call.h"
#include "server/rpc/message.h"

namespace vit {

// A method of one message in and one out, answered by a function: for what
// takes no time, or hands its answer to another thread. `answer` is called
// once, on any thread, and ends the call.
template <typename Request, typename Response>
class FunctionHandler final : public CallHandler {
 public:
  using Answer = std::function<void(const absl::StatusOr<Response>&)>;
  using Function = std::function<void(const Request&, Answer)>;

  FunctionHandler(Call* call, const Function* function)
      : CallHandler(call), function_(*function) {}

  // The method; its calls use the function until they end.
  static RpcMethod Method(Function function) {
    return {.new_handler =
                [owned = std::make_shared<const Function>(std::move(function))](
                    Call* call) -> std::unique_ptr<CallHandler> {
      return std::make_unique<FunctionHandler>(call, owned.get());
    }};
  }

 private:
  void OnMessage(grpc::ByteBuffer& message) override {
    Request request;
    if (absl::Status s = ParseMessage(message, &request); !s.ok()) {
      call()->observer().OnRefused(RpcObserver::Rule::kMalformed);
      return call()->Finish(s);
    }
    function_(request, [call = call()](const absl::StatusOr<Response>& answer) {
      if (answer.ok()) {
        call->FinishWith(SerializeMessage(*answer));
      } else {
        call->Finish(answer.status());
      }
    });
  }

  void OnClosed() override {
    call()->Finish(
        absl::InvalidArgumentError("expected one message, got none"));
  }

  const Function& function_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_FUNCTION_HANDLER_H_
