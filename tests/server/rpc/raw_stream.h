#ifndef MNIST_VIT_TESTS_SERVER_RPC_RAW_STREAM_H_
#define MNIST_VIT_TESTS_SERVER_RPC_RAW_STREAM_H_

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "server/rpc/message.h"

namespace vit::testing {

// A client's side of one call of any method, a step at a time. Each waits until
// it is done, or the call is over, at the latest after half a minute.
class RawStream {
 public:
  RawStream(const std::shared_ptr<grpc::Channel>& channel,
            const std::string& method)
      : stub_(channel) {
    context_.set_deadline(std::chrono::system_clock::now() +
                          std::chrono::seconds(30));
    stream_ = stub_.PrepareCall(&context_, method, &queue_);
    stream_->StartCall(nullptr);
    started_ = Wait();
  }
  ~RawStream() {
    context_.TryCancel();
    if (!finished_) Finish();
    queue_.Shutdown();
    while (Wait()) {
    }
  }

  bool started() const { return started_; }

  bool SendBytes(const std::string& bytes) {
    const grpc::Slice slice(bytes);
    stream_->Write(grpc::ByteBuffer(&slice, 1), nullptr);
    return Wait();
  }
  template <typename Message>
  bool Send(const Message& message) {
    stream_->Write(SerializeMessage(message), nullptr);
    return Wait();
  }
  // Nothing once the server has ended the call.
  template <typename Message>
  std::optional<Message> Read() {
    grpc::ByteBuffer buffer;
    stream_->Read(&buffer, nullptr);
    Message message;
    if (!Wait() || !ParseMessage(buffer, &message).ok()) return std::nullopt;
    return message;
  }
  bool SendEnd() {
    stream_->WritesDone(nullptr);
    return Wait();
  }
  // The status that the server ended the call with. Once.
  grpc::Status Finish() {
    finished_ = true;
    grpc::Status status;
    stream_->Finish(&status, nullptr);
    Wait();
    return status;
  }
  void Cancel() { context_.TryCancel(); }

 private:
  bool Wait() {
    void* tag = nullptr;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }

  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
  bool started_ = false;
  bool finished_ = false;
};

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_SERVER_RPC_RAW_STREAM_H_
