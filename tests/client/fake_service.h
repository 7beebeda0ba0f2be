#ifndef MNIST_VIT_TESTS_CLIENT_FAKE_SERVICE_H_
#define MNIST_VIT_TESTS_CLIENT_FAKE_SERVICE_H_

#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "client/classifier_client.h"
#include "tests/client/explanation.h"
#include "vit/v1/classifier.grpc.pb.h"

namespace vit::testing {

// Labels an image with its first byte modulo ten, of ten classes, and explains
// it with SmallExplanation. While it is shut, the gate holds every call.
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

  grpc::Status Classify(grpc::ServerContext*,
                        const v1::ClassifyRequest* request,
                        v1::ClassifyResponse* response) override {
    *response = Classification(request->image());
    return Begin({request->image()});
  }

  grpc::Status ClassifyBatch(grpc::ServerContext*,
                             const v1::ClassifyBatchRequest* request,
                             v1::ClassifyBatchResponse* response) override {
    for (const std::string& image : request->images()) {
      *response->add_results() = Classification(image);
    }
    return Begin({request->images().begin(), request->images().end()});
  }

  grpc::Status Explain(grpc::ServerContext*, const v1::ExplainRequest* request,
                       v1::ExplainResponse* response) override {
    const grpc::Status status = Begin({request->image()});
    const std::lock_guard lock(mutex_);
    *response = explanation_;
    return status;
  }

 private:
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

  grpc::Status Begin(const std::vector<std::string>& images) {
    std::unique_lock lock(mutex_);
    ++calls_;
    images_.insert(images_.end(), images.begin(), images.end());
    changed_.wait(lock, [this] { return open_; });
    if (failures_ == 0) return grpc::Status::OK;
    --failures_;
    return failure_;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
  int failures_ = 0;
  grpc::Status failure_;
  v1::ExplainResponse explanation_ = SmallExplanation();
  int calls_ = 0;
  std::vector<std::string> images_;
};

// A server of a FakeService on a free port of this machine, and gRPC's own
// health service or `health`.
class FakeServer {
 public:
  explicit FakeServer(grpc::Service* health = nullptr) {
    // Otherwise gRPC ends with each test, and that takes ten seconds if it is
    // still watching the socket of a large answer.
    static std::once_flag once;
    std::call_once(once, grpc_init);
    grpc::EnableDefaultHealthCheckService(health == nullptr);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port_);
    builder.RegisterService(&service_);
    if (health != nullptr) builder.RegisterService(health);
    server_ = builder.BuildAndStart();
    EXPECT_NE(server_, nullptr);
  }
  ~FakeServer() { service_.OpenGate(); }
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  FakeService& service() { return service_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  // Those of a client of this server that does not wait long before retries,
  // and whose deadline only a broken test meets.
  client::ClientOptions options() const {
    client::ClientOptions options;
    options.target = address();
    options.deadline = absl::Seconds(30);
    options.initial_backoff = absl::Milliseconds(1);
    options.max_backoff = absl::Milliseconds(2);
    return options;
  }

  void SetServing(bool serving) {
    server_->GetHealthCheckService()->SetServingStatus(serving);
  }

 private:
  int port_ = 0;
  FakeService service_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_CLIENT_FAKE_SERVICE_H_
