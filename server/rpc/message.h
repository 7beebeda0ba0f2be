#ifndef MNIST_VIT_SERVER_RPC_MESSAGE_H_
#define MNIST_VIT_SERVER_RPC_MESSAGE_H_

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vit {

// Between gRPC's bytes and Protobuf's messages.

// InvalidArgument, naming the message's type, if the bytes are not one. Empties
// the buffer.
template <typename Message>
absl::Status ParseMessage(grpc::ByteBuffer& buffer, Message* message) {
  const size_t size = buffer.Length();
  const grpc::Status status =
      grpc::SerializationTraits<Message>::Deserialize(&buffer, message);
  if (status.ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("expected a message ", Message::descriptor()->full_name(),
                   ", got ", size, " bytes that are none"));
}

template <typename Message>
grpc::ByteBuffer SerializeMessage(const Message& message) {
  grpc::ByteBuffer buffer;
  bool own_buffer = false;
  // Fails for messages of 2 GiB and more only, which nobody makes here.
  grpc::SerializationTraits<Message>::Serialize(message, &buffer, &own_buffer);
  return buffer;
}

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_MESSAGE_H_
