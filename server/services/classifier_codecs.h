#ifndef MNIST_VIT_SERVER_SERVICES_CLASSIFIER_CODECS_H_
#define MNIST_VIT_SERVER_SERVICES_CLASSIFIER_CODECS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/classifier.h"
#include "server/base/clock.h"
#include "server/batching/fair_queue.h"
#include "server/batching/task.h"
#include "server/services/request.h"
#include "server/telemetry/metrics.h"
#include "vit/v1/classifier.pb.h"

// The codecs of proto/vit/v1/classifier.proto: what UnaryJob and StreamCall ask
// of a protocol.
namespace vit {

// What the codecs of calls with one image have in common.
template <typename RequestType, typename ResponseType>
class OneImageCodec {
 public:
  static constexpr int kCost = 1;

  const std::string& model() const { return request.model(); }
  const std::string& version() const { return request.version(); }
  static int images() { return 1; }
  absl::StatusOr<Image> image(int /*i*/, const ImageShape& shape) const {
    return ToImage(request.image(), shape);
  }
  void Prepare(const ModelInfo& /*info*/) {}
  Attention* attention(int /*i*/) { return nullptr; }
  const ResponseType& response() const { return response_; }
  void Release() {
    request = {};
    response_ = {};
  }

  RequestType request;

 protected:
  ResponseType response_;
};

class ClassifyCodec
    : public OneImageCodec<v1::ClassifyRequest, v1::ClassifyResponse> {
 public:
  static constexpr Method kMethod = Method::kClassify;

  void SetResult(int /*i*/, const ModelInfo& /*info*/,
                 const Prediction& prediction, const TaskTiming& timing,
                 Clock::duration total) {
    FillResponse(prediction, timing, total, &response_);
  }
};

// Takes its turns in the queue as if it were several images, because attention
// and its answer cost more.
class ExplainCodec
    : public OneImageCodec<v1::ExplainRequest, v1::ExplainResponse> {
 public:
  static constexpr Method kMethod = Method::kExplain;
  static constexpr int kCost = FairQueue::kQuantum;

  Attention* attention(int /*i*/) { return &attention_; }
  void SetResult(int /*i*/, const ModelInfo& info, const Prediction& prediction,
                 const TaskTiming& timing, Clock::duration total) {
    FillResponse(prediction, timing, total, response_.mutable_classification());
    FillExplanation(info, attention_, &response_);
    attention_ = {};
  }

 private:
  Attention attention_;
};

class ClassifyBatchCodec {
 public:
  static constexpr Method kMethod = Method::kClassifyBatch;
  static constexpr int kCost = 1;

  const std::string& model() const { return request.model(); }
  const std::string& version() const { return request.version(); }
  int images() const { return request.images_size(); }
  absl::StatusOr<Image> image(int i, const ImageShape& shape) const {
    return ToImage(request.images(i), shape, i);
  }
  void Prepare(const ModelInfo& /*info*/) {
    response_.mutable_results()->Reserve(images());
    for (int i = 0; i < images(); ++i) response_.add_results();
  }
  static Attention* attention(int /*i*/) { return nullptr; }
  void SetResult(int i, const ModelInfo& /*info*/, const Prediction& prediction,
                 const TaskTiming& timing, Clock::duration total) {
    FillResponse(prediction, timing, total, response_.mutable_results(i));
  }
  const v1::ClassifyBatchResponse& response() const { return response_; }
  void Release() {
    request = {};
    response_ = {};
  }

  v1::ClassifyBatchRequest request;

 private:
  v1::ClassifyBatchResponse response_;
};

// One message of a stream and its answer, used again and again.
class ClassifyStreamCodec {
 public:
  static constexpr Method kMethod = Method::kClassifyStream;

  const std::string& model() const { return request.model(); }
  const std::string& version() const { return request.version(); }
  absl::StatusOr<Image> image(const ImageShape& shape) {
    response_.set_id(request.id());
    return ToImage(request.image(), shape);
  }
  void SetResult(const Prediction& prediction, const TaskTiming& timing,
                 Clock::duration total) {
    FillResponse(prediction, timing, total, response_.mutable_response());
  }
  void SetError(const absl::Status& status) {
    response_.set_id(request.id());
    v1::Error* error = response_.mutable_error();
    error->set_code(static_cast<int>(status.code()));
    error->set_message(std::string(status.message()));
  }
  const v1::ClassifyStreamResponse& response() const { return response_; }
  // Lets go of more than an image of the right size needs.
  void Release(size_t image_bytes) {
    if (request.image().capacity() > 2 * image_bytes) {
      request = {};
    }
  }

  v1::ClassifyStreamRequest request;

 private:
  v1::ClassifyStreamResponse response_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_SERVICES_CLASSIFIER_CODECS_H_
