#ifndef MNIST_VIT_TESTS_INTEGRATION_BACKGROUND_CALL_H_
#define MNIST_VIT_TESTS_INTEGRATION_BACKGROUND_CALL_H_

#include <grpcpp/client_context.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/integration/server_process.h"
#include "vit/v1/classifier.grpc.pb.h"

namespace vit::testing {

// A call that runs beside the test, without a thread of its own. Cancelled, if
// it still runs, when the object goes.
template <typename Request, typename Response>
class BackgroundCall {
 public:
  // The method of the stub's asynchronous part.
  using Method = void (v1::Classifier::Stub::async::*)(
      grpc::ClientContext*, const Request*, Response*,
      std::function<void(grpc::Status)>);

  BackgroundCall(v1::Classifier::Stub& stub, Method method, Request request,
                 std::chrono::milliseconds timeout)
      : request_(std::move(request)) {
    context_.set_deadline(std::chrono::system_clock::now() + timeout);
    const auto promise = std::make_shared<std::promise<grpc::Status>>();
    status_ = promise->get_future();
    (stub.async()->*method)(
        &context_, &request_, &response_,
        [promise](grpc::Status status) { promise->set_value(status); });
  }

  ~BackgroundCall() {
    if (!status_.valid()) return;
    Cancel();
    status_.wait();
  }

  BackgroundCall(const BackgroundCall&) = delete;
  BackgroundCall& operator=(const BackgroundCall&) = delete;

  void Cancel() { context_.TryCancel(); }

  // Waits for the end of the call. Once only.
  grpc::Status Wait() { return status_.get(); }

  // After Wait.
  const Response& response() const { return response_; }

  // After Wait: a value of the trailers; empty if there is none.
  std::string Trailer(const std::string& key) const {
    const auto& trailers = context_.GetServerTrailingMetadata();
    const auto found = trailers.find(key);
    if (found == trailers.end()) return "";
    return {found->second.data(), found->second.size()};
  }

 private:
  grpc::ClientContext context_;
  const Request request_;
  Response response_;
  std::future<grpc::Status> status_;
};

using BackgroundClassify =
    BackgroundCall<v1::ClassifyRequest, v1::ClassifyResponse>;
using BackgroundClassifyBatch =
    BackgroundCall<v1::ClassifyBatchRequest, v1::ClassifyBatchResponse>;

inline std::unique_ptr<BackgroundClassify> StartClassify(
    v1::Classifier::Stub& stub, const std::string& image,
    std::chrono::milliseconds timeout = kPatience) {
  v1::ClassifyRequest request;
  request.set_image(image);
  const BackgroundClassify::Method method =
      &v1::Classifier::Stub::async::Classify;
  return std::make_unique<BackgroundClassify>(stub, method, std::move(request),
                                              timeout);
}

// `count` times the same image.
inline std::unique_ptr<BackgroundClassifyBatch> StartClassifyBatch(
    v1::Classifier::Stub& stub, const std::string& image, int count,
    std::chrono::milliseconds timeout = kPatience) {
  v1::ClassifyBatchRequest request;
  for (int i = 0; i < count; ++i) request.add_images(image);
  const BackgroundClassifyBatch::Method method =
      &v1::Classifier::Stub::async::ClassifyBatch;
  return std::make_unique<BackgroundClassifyBatch>(stub, method,
                                                   std::move(request), timeout);
}

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_INTEGRATION_BACKGROUND_CALL_H_
