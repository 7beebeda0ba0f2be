#include "server/services/classifier_service.h"

#include <string>
#include <utility>

#include "server/rpc/call.h"
#include "server/services/classify_batch.h"
#include "server/services/classify_stream.h"
#include "server/rpc/patience.h"
#include "server/rpc/status.h"
#include "server/services/request.h"

namespace vit {
namespace {

// A call with one image.
template <typename Request, typename Response>
class OneImageCall : public UnaryCall<Request, Response>, public BatchTask {
 public:
  void Done(const absl::Status& status, const Prediction* prediction,
            const TaskTiming& timing) override {
    if (!status.ok()) return End(status, Clock::now());
    v1::ClassifyResponse* response = Fill(*prediction, timing);
    const Clock::time_point now = Clock::now();
    response->mutable_timing()->set_total_seconds(Seconds(now - received_));
    service_.metrics->OnPrediction(prediction->label, now - timing.finished);
    End(status, now);
  }

 protected:
  OneImageCall(const ServiceContext& service, EventLoop* loop, Method method)
      : UnaryCall<Request, Response>(loop),
        service_(service),
        method_(method) {}

  ~OneImageCall() override {
    if (entered_) service_.calls->Leave();
  }

  // Fills the call's response and returns the part that holds the timing.
  virtual v1::ClassifyResponse* Fill(const Prediction& prediction,
                                     const TaskTiming& timing) = 0;

  const ServiceContext& service_;

 private:
  // Checks the image; finishes the call at once if it is none.
  void OnArrived() override {
    received_ = Clock::now();
    SetPatient(service_.scheduler->crowded());
    entered_ = service_.calls->Enter();
    const absl::Status status =
        entered_ ? Check() : absl::UnavailableError("server is shutting down");
    if (!status.ok()) return End(status, Clock::now());
    this->loop()->PutOff(checked_.Begin());
  }

  void OnCancelled() override { Cancel(); }

  absl::Status Check() {
    absl::StatusOr<Image> valid =
        ToImage(this->request_.image(), service_.model.image);
    if (!valid.ok()) return valid.status();
    image = *valid;
    deadline = Deadline(this->context_);
    return absl::OkStatus();
  }

  // Submits the image. The last of those that came in together may be computed
  // here.
  void OnChecked(bool last) {
    BatchScheduler& scheduler = *service_.scheduler;
    const absl::Status status = last
                                    ? scheduler.ComputeOrSubmit(this, received_)
                                    : scheduler.Submit(this, received_);
    if (status.ok()) return;
    AddRetryHint(status, this->context_);
    End(status, Clock::now());
  }

  // The last use of the call.
  void End(const absl::Status& status, Clock::time_point now) {
    service_.metrics->OnRequest(method_, status.code(), now - received_);
    this->Finish(status);
  }

  const Method method_;
  typename Call::Step checked_{this, &OneImageCall::OnChecked};
  Clock::time_point received_;
  bool entered_ = false;
};

class ClassifyCall final
    : public OneImageCall<v1::ClassifyRequest, v1::ClassifyResponse> {
 public:
  ClassifyCall(const ServiceContext& service, EventLoop* loop)
      : OneImageCall(service, loop, Method::kClassify) {
    service.grpc->RequestClassify(&context_, &request_, &writer_, queue(),
                                  loop->queue(), arrived());
  }

 private:
  void Renew() override { Wait<ClassifyCall>(service_, loop()); }

  v1::ClassifyResponse* Fill(const Prediction& prediction,
                             const TaskTiming& timing) override {
    FillResponse(prediction, timing, &response_);
    return &response_;
  }
};

class ExplainCall final
    : public OneImageCall<v1::ExplainRequest, v1::ExplainResponse> {
 public:
  ExplainCall(const ServiceContext& service, EventLoop* loop)
      : OneImageCall(service, loop, Method::kExplain) {
    attention = &weights_;
    service.grpc->RequestExplain(&context_, &request_, &writer_, queue(),
                                 loop->queue(), arrived());
  }

 private:
  void Renew() override { Wait<ExplainCall>(service_, loop()); }

  v1::ClassifyResponse* Fill(const Prediction& prediction,
                             const TaskTiming& timing) override {
    FillResponse(prediction, timing, response_.mutable_classification());
    FillExplanation(service_.model, weights_, &response_);
    return response_.mutable_classification();
  }

  Attention weights_;
};

}  // namespace

ClassifierService::ClassifierService(ServiceContext context)
    : context_(std::move(context)) {
  context_.grpc = &grpc_;
}

void ClassifierService::Serve(EventLoop* loop) {
  Wait<ClassifyCall>(context_, loop);
  Wait<ClassifyBatchCall>(context_, loop);
  Wait<ClassifyStreamCall>(context_, loop);
  Wait<ExplainCall>(context_, loop);
}

}  // namespace vit
