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

// One call with one image. The reactor is gRPC's own: the end of one of ours
// would be told to us by another thread, and to wake that costs a fifth of all
// that gRPC does for a call. So this object goes when the call is finished.
class OneImageCall : public BatchTask {
 public:
  OneImageCall(const ServiceContext& service, Method method,
               grpc::CallbackServerContext* context)
      : service_(service),
        method_(method),
        context_(context),
        reactor_(context->DefaultReactor()),
        received_(Clock::now()) {}

  // Checks and submits the image; finishes the call at once if that fails. The
  // reactor is what gRPC wants to have; this object may be gone.
  grpc::ServerUnaryReactor* Start(const std::string& bytes) {
    grpc::ServerUnaryReactor* const reactor = reactor_;
    SetPatient(service_.scheduler->crowded());
    entered_ = service_.calls->Enter();
    const absl::Status status =
        entered_ ? Submit(bytes)
                 : absl::UnavailableError("server is shutting down");
    if (!status.ok()) {
      AddRetryHint(status, *context_);
      End(status, Clock::now());
    }
    return reactor;
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

  bool IsCancelled() const override { return context_->IsCancelled(); }

 protected:
  // Fills the call's response and returns the part that holds the timing.
  virtual v1::ClassifyResponse* Fill(const Prediction& prediction,
                                     const TaskTiming& timing) = 0;

  const ServiceContext& service_;

 private:
  absl::Status Submit(const std::string& bytes) {
    absl::StatusOr<Image> valid = ToImage(bytes, service_.model.image);
    if (!valid.ok()) return valid.status();
    image = *valid;
    deadline = Deadline(*context_);
    return service_.scheduler->ComputeOrSubmit(this, received_);
  }

  // The last use of the call and of this object.
  void End(const absl::Status& status, Clock::time_point now) {
    service_.metrics->OnRequest(method_, status.code(), now - received_);
    reactor_->Finish(ToGrpcStatus(status));
    if (entered_) service_.calls->Leave();
    delete this;
  }

  const Method method_;
  // gRPC's, until the call is finished.
  grpc::CallbackServerContext* const context_;
  grpc::ServerUnaryReactor* const reactor_;
  const Clock::time_point received_;
  bool entered_ = false;
};

class ClassifyCall final : public OneImageCall {
 public:
  ClassifyCall(const ServiceContext& service,
               grpc::CallbackServerContext* context,
               v1::ClassifyResponse* response)
      : OneImageCall(service, Method::kClassify, context),
        response_(response) {}

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
  ExplainCall(const ServiceContext& service,
              grpc::CallbackServerContext* context,
              v1::ExplainResponse* response)
      : OneImageCall(service, Method::kExplain, context),
        response_(response) {
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

// A call owns itself from its start to its end.
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
  return Released(std::make_unique<ClassifyCall>(context_, context, response))
      ->Start(request->image());
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
  return Released(std::make_unique<ExplainCall>(context_, context, response))
      ->Start(request->image());
}

}  // namespace vit
