#ifndef MNIST_VIT_CLIENT_CLASSIFIER_CLIENT_H_
#define MNIST_VIT_CLIENT_CLASSIFIER_CLIENT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "client/client_options.h"
#include "client/connection.h"
#include "vit/v1/classifier.grpc.pb.h"
#include "vit/v1/classifier.pb.h"

namespace vit::client {

// What a server says of its health.
enum class Health { kUnknown, kServing, kNotServing };

// Calls a Classifier service.
//
// Errors of calls have the server's code, as listed in classifier.proto, and
// the target and the server's message as their message. If no healthy server
// can be reached, that is Unavailable: at once if none ever answered, after the
// deadline if one did and may come back (Connection says more).
//
// A server that says that it is no longer healthy gets no further calls. If the
// others take over while one is restarted, no call fails.
//
// Thread-safe.
class ClassifierClient {
 public:
  using ClassifyCallback =
      std::function<void(absl::StatusOr<v1::ClassifyResponse>)>;

  // InvalidArgument if an option is out of its range. Does not connect.
  static absl::StatusOr<std::unique_ptr<ClassifierClient>> Create(
      const ClientOptions& options);

  // Waits for the callbacks of all ClassifyAsync calls.
  ~ClassifierClient();

  ClassifierClient(const ClassifierClient&) = delete;
  ClassifierClient& operator=(const ClassifierClient&) = delete;

  absl::StatusOr<v1::ClassifyResponse> Classify(std::span<const uint8_t> image);

  // Returns at once; `done` is called exactly once, on a thread of gRPC's, and
  // must not block. The image is copied.
  void ClassifyAsync(std::span<const uint8_t> image, ClassifyCallback done);

  // One result for each image, in their order, or an error that names the
  // image.
  absl::StatusOr<v1::ClassifyBatchResponse> ClassifyBatch(
      std::span<const std::span<const uint8_t>> images);

  absl::StatusOr<v1::ExplainResponse> Explain(std::span<const uint8_t> image);

  // Asks one server, healthy or not, as a whole or for one service by its full
  // name; NotFound if the server does not know the service. Not retried.
  absl::StatusOr<Health> CheckHealth(const std::string& service = "");

  const ClientOptions& options() const { return connection_.options(); }

 private:
  explicit ClassifierClient(const ClientOptions& options);

  void EndCall();

  Connection connection_;
  const std::unique_ptr<v1::Classifier::Stub> stub_;
  const std::shared_ptr<grpc::Channel> health_channel_;

  absl::Mutex mutex_;
  int pending_calls_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace vit::client

#endif  // MNIST_VIT_CLIENT_CLASSIFIER_CLIENT_H_
