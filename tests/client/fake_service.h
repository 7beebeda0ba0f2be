#ifndef MNIST_VIT_TESTS_CLIENT_FAKE_SERVICE_H_
#define MNIST_VIT_TESTS_CLIENT_FAKE_SERVICE_H_

#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "client/classifier_client.h"
#include "tests/client/explanation.h"
#include "vit/v1/classifier.grpc.pb.h"

namespace vit::testing {

// Labels an image with its first byte modulo ten, of ten classes, and explains
// it with SmallExplanation. While it is shut, the gate holds every call, and a
// stream at its next image.
class FakeService final : public v1::Classifier::Service {
 public:
  void ShutGate() {
    const std::lock_guard lock(mutex_);
    open_ = false;
  }
  void OpenGate() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  // The next `calls` calls fail with this.
  void FailNext(int calls, grpc::Status status) {
    const std::lock_guard lock(mutex_);
    failures_ = calls;
    failure_ = std::move(status);
  }
  // A stream ends with `status` once `answers` more images are answered and
  // another has come. Asked for again, the same follows after that.
  void EndStream(int answers, grpc::Status status) {
    const std::lock_guard lock(mutex_);
    stream_ends_.push_back({answers, std::move(status)});
  }
  // The next `images` images of streams are answered with this error.
  void FailNextImages(int images, grpc::Status status) {
    const std::lock_guard lock(mutex_);
    image_failures_ = images;
    image_failure_ = std::move(status);
  }
  // Explain answers with this from now on.
  void ExplainWith(v1::ExplainResponse response) {
    const std::lock_guard lock(mutex_);
    explanation_ = std::move(response);
  }
  // How many calls came, those that failed too.
  int calls() {
    const std::lock_guard lock(mutex_);
    return calls_;
  }
  // The images that came, in their order.
  std::vector<std::string> images() {
    const std::lock_guard lock(mutex_);
    return images_;
  }

  grpc::Status Classify(grpc::ServerContext* context,
                        const v1::ClassifyRequest* request,
                        v1::ClassifyResponse* response) override {
    *response = Classification(request->image());
    return Begin({request->image()}, *context);
  }

  grpc::Status ClassifyBatch(grpc::ServerContext* context,
                             const v1::ClassifyBatchRequest* request,
                             v1::ClassifyBatchResponse* response) override {
    for (const std::string& image : request->images()) {
      *response->add_results() = Classification(image);
    }
    return Begin({request->images().begin(), request->images().end()},
                 *context);
  }

  grpc::Status ClassifyStream(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::ClassifyStreamResponse,
                               v1::ClassifyStreamRequest>* stream) override {
    v1::ClassifyStreamRequest request;
    while (stream->Read(&request)) {
      const grpc::Status gate = BeginImage(request.image(), *context);
      if (!gate.ok()) return gate;
      if (const auto end = EndBeforeThisImage()) return *end;
      stream->Write(StreamAnswer(request));
    }
    return grpc::Status::OK;
  }

  grpc::Status Explain(grpc::ServerContext* context,
                       const v1::ExplainRequest* request,
                       v1::ExplainResponse* response) override {
    const grpc::Status status = Begin({request->image()}, *context);
    const std::lock_guard lock(mutex_);
    *response = explanation_;
    return status;
  }

 private:
  struct StreamEnd {
    int answers = 0;
    grpc::Status status;
  };

  // Waits while the gate is shut, but not for a client that has gone.
  grpc::Status WaitForGate(std::unique_lock<std::mutex>& lock,
                           const grpc::ServerContext& context) {
    while (!open_) {
      if (context.IsCancelled()) return grpc::Status::CANCELLED;
      // gRPC tells nobody that a call is cancelled.
      changed_.wait_for(lock, std::chrono::milliseconds(1));
    }
    return grpc::Status::OK;
  }

  grpc::Status BeginImage(const std::string& image,
                          const grpc::ServerContext& context) {
    std::unique_lock lock(mutex_);
    images_.push_back(image);
    return WaitForGate(lock, context);
  }

  std::optional<grpc::Status> EndBeforeThisImage() {
    const std::lock_guard lock(mutex_);
    if (stream_ends_.empty()) return std::nullopt;
    if (stream_ends_.front().answers-- > 0) return std::nullopt;
    grpc::Status status = std::move(stream_ends_.front().status);
    stream_ends_.pop_front();
    return status;
  }

  v1::ClassifyStreamResponse StreamAnswer(
      const v1::ClassifyStreamRequest& request) {
    v1::ClassifyStreamResponse answer;
    answer.set_id(request.id());
    const std::lock_guard lock(mutex_);
    if (image_failures_ == 0) {
      *answer.mutable_response() = Classification(request.image());
    } else {
      --image_failures_;
      answer.mutable_error()->set_code(image_failure_.error_code());
      answer.mutable_error()->set_message(image_failure_.error_message());
    }
    return answer;
  }

  static v1::ClassifyResponse Classification(const std::string& image) {
    const int label =
        image.empty() ? 0 : static_cast<unsigned char>(image[0]) % 10;
    v1::ClassifyResponse response;
    response.set_label(label);
    response.set_confidence(0.55F);
    for (int i = 0; i < 10; ++i) {
      response.add_probabilities(i == label ? 0.55F : 0.05F);
    }
    v1::Timing* const timing = response.mutable_timing();
    timing->set_queue_seconds(0.001);
    timing->set_inference_seconds(0.002);
    timing->set_total_seconds(0.004);
    timing->set_batch_size(8);
    return response;
  }

  grpc::Status Begin(const std::vector<std::string>& images,
                     const grpc::ServerContext& context) {
    std::unique_lock lock(mutex_);
    ++calls_;
    images_.insert(images_.end(), images.begin(), images.end());
    const grpc::Status gate = WaitForGate(lock, context);
    if (!gate.ok()) return gate;
    if (failures_ == 0) return grpc::Status::OK;
    --failures_;
    return failure_;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
  int failures_ = 0;
  grpc::Status failure_;
  std::deque<StreamEnd> stream_ends_;
  int image_failures_ = 0;
  grpc::Status image_failure_;
  v1::ExplainResponse explanation_ = SmallExplanation();
  int calls_ = 0;
  std::vector<std::string> images_;
};

// A server of a FakeService, and gRPC's own health service or `health`, which
// says that it serves.
class FakeServer {
 public:
  // On a free port of this machine, or on `address`.
  explicit FakeServer(grpc::Service* health = nullptr,
                      const std::string& address = "127.0.0.1:0") {
    // Otherwise gRPC ends with each test, and that takes ten seconds if it is
    // still watching the socket of a large answer.
    static std::once_flag once;
    std::call_once(once, grpc_init);
    grpc::EnableDefaultHealthCheckService(health == nullptr);
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddListeningPort(address, grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(&service_);
    if (health != nullptr) builder.RegisterService(health);
    server_ = builder.BuildAndStart();
    EXPECT_NE(server_, nullptr);
    if (health == nullptr) SetServing(true);
  }
  ~FakeServer() { Kill(); }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  // Breaks its connections, calls in flight included, and stops.
  void Kill() {
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }

  FakeService& service() { return service_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  // Those of a client of this server whose deadline only a broken test meets.
  //
  // All retries together take longer than a connection that failed takes to be
  // tried again, because gRPC 1.51 takes some that are under way for failed: it
  // looks at errno after other calls than connect() (grpc#35064), such as those
  // of the first contended lock in the process, which reads files of /sys.
  client::ClientOptions options() const {
    client::ClientOptions options;
    options.target = address();
    options.deadline = absl::Seconds(30);
    options.initial_backoff = absl::Milliseconds(1);
    options.backoff_multiplier = 15;
    return options;
  }
  // The same without any such wait: for clients that are connected.
  client::ClientOptions quick_options() const {
    client::ClientOptions quick = options();
    quick.backoff_multiplier = 1;
    return quick;
  }

  void SetServing(bool serving) {
    grpc::HealthCheckServiceInterface* const health =
        server_->GetHealthCheckService();
    health->SetServingStatus(serving);
    health->SetServingStatus("vit.v1.Classifier", serving);
  }

 private:
  int port_ = 0;
  FakeService service_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_CLIENT_FAKE_SERVICE_H_
