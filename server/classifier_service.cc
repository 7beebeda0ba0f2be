#include "server/classifier_service.h"

#include <memory>
#include <string>
#include <utility>

#include "server/classify_batch.h"
#include "server/classify_stream.h"
#include "server/patience.h"
#include "server/request.h"

namespace vit {
namespace {

// One call with one image. Destroys itself when gRPC is done with it.
class OneImageCall : public grpc::ServerUnaryReactor, public BatchTask {
 public:
  OneImageCall(const ServiceContext& service, Method method)
      : service_(service), method_(method), received_(Clock::now()) {}

  // Checks and submits the image; finishes the call at once if that fails.
  void Start(grpc::CallbackServerContext& context, const std::string& bytes) {
    SetPatient(service_.scheduler->crowded());
    entered_ = service_.calls->Enter();
    const absl::Status status =
        entered_ ? Submit(context, bytes)
                 : absl::UnavailableError("server is shutting down");
    if (status.ok()) return;
    AddRetryHint(status, context);
    End(status, Clock::now());
  }

  void Done(const absl::Status& status, const Prediction* prediction,
            const TaskTiming& timing) override {
    if (!status.ok()) return End(status, Clock::now());
    v1::ClassifyResponse* response = Fill(*prediction, timing);
    const Clock::time_point now = Clock::now();
    response->mutable_timing()->set_total_seconds(Seconds(now - received_));
    service_.metrics->OnPrediction(prediction->label, now - timing.finished);
    End(status, now);
  }

  void OnCancel() override { Cancel(); }

  void OnDone() override {
    if (entered_) service_.calls->Leave();
    delete this;
  }

 protected:
  // Fills the call's response and returns the part that holds the timing.
  virtual v1::ClassifyResponse* Fill(const Prediction& prediction,
                                     const TaskTiming& timing) = 0;

  const ServiceContext& service_;

 private:
  absl::Status Submit(const grpc::CallbackServerContext& context,
                      const std::string& bytes) {
    absl::StatusOr<Image> valid = ToImage(bytes, service_.model.image);
    if (!valid.ok()) return valid.status();
    image = *valid;
    deadline = Deadline(context);
    return service_.scheduler->ComputeOrSubmit(this, received_);
  }

  // The last use of this object: gRPC may destroy it from here on.
  void End(const absl::Status& status, Clock::time_point now) {
    service_.metrics->OnRequest(method_, status.code(), now - received_);
    Finish(ToGrpcStatus(status));
  }

  const Method method_;
  const Clock::time_point received_;
  bool entered_ = false;
};

class ClassifyCall final : public OneImageCall {
 public:
  ClassifyCall(const ServiceContext& service, v1::ClassifyResponse* response)
      : OneImageCall(service, Method::kClassify), response_(response) {}

 private:
  v1::ClassifyResponse* Fill(const Prediction& prediction,
                             const TaskTiming& timing) override {
    FillResponse(prediction, timing, response_);
    return response_;
  }

  v1::ClassifyResponse* const response_;
};

class ExplainCall final : public OneImageCall {
 public:
  ExplainCall(const ServiceContext& service, v1::ExplainResponse* response)
      : OneImageCall(service, Method::kExplain), response_(response) {
    attention = &weights_;
  }

 private:
  v1::ClassifyResponse* Fill(const Prediction& prediction,
                             const TaskTiming& timing) override {
    FillResponse(prediction, timing, response_->mutable_classification());
    FillExplanation(service_.model, weights_, response_);
    return response_->mutable_classification();
  }

  v1::ExplainResponse* const response_;
  Attention weights_;
};

// A call belongs to gRPC from its start; OnDone destroys it.
template <typename Call>
Call* Released(std::unique_ptr<Call> call) {
  return call.release();
}

}  // namespace

ClassifierService::ClassifierService(ServiceContext context)
    : context_(std::move(context)) {}

grpc::ServerUnaryReactor* ClassifierService::Classify(
    grpc::CallbackServerContext* context, const v1::ClassifyRequest* request,
    v1::ClassifyResponse* response) {
  auto* call = Released(std::make_unique<ClassifyCall>(context_, response));
  call->Start(*context, request->image());
  return call;
}

grpc::ServerUnaryReactor* ClassifierService::ClassifyBatch(
    grpc::CallbackServerContext* context,
    const v1::ClassifyBatchRequest* request,
    v1::ClassifyBatchResponse* response) {
  auto* call =
      Released(std::make_unique<ClassifyBatchCall>(context_, response));
  call->Start(*context, *request);
  return call;
}

grpc::ServerBidiReactor<v1::ClassifyStreamRequest, v1::ClassifyStreamResponse>*
ClassifierService::ClassifyStream(grpc::CallbackServerContext* context) {
  auto* call = Released(std::make_unique<ClassifyStreamCall>(context_));
  call->Start(*context);
  return call;
}

grpc::ServerUnaryReactor* ClassifierService::Explain(
    grpc::CallbackServerContext* context, const v1::ExplainRequest* request,
    v1::ExplainResponse* response) {
  auto* call = Released(std::make_unique<ExplainCall>(context_, response));
  call->Start(*context, request->image());
  return call;
}

}  // namespace vit
