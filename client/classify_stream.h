#ifndef MNIST_VIT_CLIENT_CLASSIFY_STREAM_H_
#define MNIST_VIT_CLIENT_CLASSIFY_STREAM_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <thread>

#include "absl/status/statusor.h"
#include "client/client_options.h"
#include "vit/v1/classifier.pb.h"

namespace vit::client {

struct StreamOptions {
  // The most images that are sent and not answered, at least 1. A server takes
  // 64 of a stream at a time; more wait in the connection.
  int max_in_flight = 64;
};

// Classifies images one after another over a stream that outlives servers.
//
// Guarantees:
// - Each image that is sent ends in exactly one call of the callback: with its
//   answer, or with the reason why there is none.
// - No image takes longer than ClientOptions::deadline, counted from Send.
// - When the server drains, dies or loses the connection, the stream goes on
//   with the next healthy server, and every image that was not answered is sent
//   again: max_attempts times in all, because an image that kills its server
//   must not kill them all. Classification changes nothing on a server, so it
//   does not matter that one may have computed what another answers.
// - Answers come in the order in which they are ready, not in that of Send.
// - Ids are the caller's own: any numbers, the same twice too.
//
// Errors of an image: the server's, such as InvalidArgument for a wrong size or
// ResourceExhausted for a full queue, which is not tried again: send less.
// Unavailable if no healthy server can be reached: at once if none ever
// answered, otherwise at the deadline. DeadlineExceeded if a server does not
// answer in time; the stream then leaves that server.
//
// Thread-safe. It has one thread of its own.
class ClassifyStream {
 public:
  // Called on threads of the stream and of gRPC, for several images at a time.
  // Must neither block nor call the stream.
  using Callback =
      std::function<void(uint64_t id, absl::StatusOr<v1::ClassifyResponse>)>;

  // InvalidArgument if an option is out of its range. Does not connect.
  static absl::StatusOr<std::unique_ptr<ClassifyStream>> Create(
      const ClientOptions& options, const StreamOptions& stream_options,
      Callback done);

  // Finish, and ends the stream.
  ~ClassifyStream();

  ClassifyStream(const ClassifyStream&) = delete;
  ClassifyStream& operator=(const ClassifyStream&) = delete;

  // Waits while max_in_flight images are not answered. The image is copied.
  void Send(uint64_t id, std::span<const uint8_t> image);

  // Waits until the callbacks of all images that were sent have returned.
  void Finish();

  // How many streams were begun so far: the first, and one each time that the
  // server was changed or tried again.
  int streams() const;

 private:
  class Core;

  explicit ClassifyStream(std::unique_ptr<Core> core);

  const std::unique_ptr<Core> core_;
  std::thread supervisor_;
};

}  // namespace vit::client

#endif  // MNIST_VIT_CLIENT_CLASSIFY_STREAM_H_
