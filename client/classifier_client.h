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
#include "absl/time/time.h"
#include "vit/v1/classifier.grpc.pb.h"
#include "vit/v1/classifier.pb.h"

namespace vit::client {

struct ClientOptions {
  // Where the servers are, as gRPC names targets: "host:port",
  // "dns:///host:port", "ipv4:10.0.0.1:50051,10.0.0.2:50051". Calls go in turn
  // to all addresses behind it.
  std::string target = "localhost:50051";
  // The time that a call may take with all its retries. More than zero.
  absl::Duration deadline = absl::Seconds(5);
  // How often a call is tried in all when the server is unavailable or its
  // queue is full, from 1 (no retries) to 5 (gRPC's limit). If most calls fail,
  // none is retried.
  int max_attempts = 4;
  // Before the n-th retry, a random time up to
  // min(initial_backoff * backoff_multiplier^(n - 1), max_backoff).
  absl::Duration initial_backoff = absl::Milliseconds(50);
  absl::Duration max_backoff = absl::Seconds(1);
  double backoff_multiplier = 2;
};

// What a server says of its health.
enum class Health { kUnknown, kServing, kNotServing };

// gRPC's service config for these options: retries and load balancing, as JSON.
std::string ServiceConfigJson(const ClientOptions& options);

// Calls a Classifier service.
//
// Errors of calls have the server's code, as listed in classifier.proto, and
// the target and the server's message as their message. A server that cannot be
// reached is Unavailable.
//
// Thread-safe. The connection is plain text, is made by the first call, is made
// again when it is lost, and does not use the environment's HTTP proxy.
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

  // Asks the server as a whole, or one service by its full name; NotFound if
  // the server does not know the service. Not retried.
  absl::StatusOr<Health> CheckHealth(const std::string& service = "");

  const ClientOptions& options() const { return options_; }

 private:
  explicit ClassifierClient(const ClientOptions& options);

  void EndCall();

  // Constant after construction.
  const ClientOptions options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::Classifier::Stub> stub_;

  absl::Mutex mutex_;
  int pending_calls_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace vit::client

#endif  // MNIST_VIT_CLIENT_CLASSIFIER_CLIENT_H_
