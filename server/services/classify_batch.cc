#include "server/services/classify_batch.h"

#include "absl/strings/str_cat.h"
#include "server/rpc/status.h"
#include "server/services/request.h"

namespace vit {

ClassifyBatchCall::ClassifyBatchCall(const ServiceContext& service,
                                     EventLoop* loop)
    : UnaryCall(loop), service_(service) {
  service_.grpc->RequestClassifyBatch(&context_, &request_, &writer_, queue(),
                                      loop->queue(), arrived());
}

ClassifyBatchCall::~ClassifyBatchCall() {
  if (entered_) service_.calls->Leave();
}

void ClassifyBatchCall::Renew() { Wait<ClassifyBatchCall>(service_, loop()); }

void ClassifyBatchCall::OnArrived() {
  received_ = Clock::now();
  entered_ = service_.calls->Enter();
  const absl::Status status =
      entered_ ? Submit() : absl::UnavailableError("server is shutting down");
  if (status.ok()) return;
  AddRetryHint(status, context_);
  End(status);
}

absl::Status ClassifyBatchCall::Submit() {
  const int count = request_.images_size();
  if (count < 1 || count > service_.max_batch_images) {
    return absl::InvalidArgumentError(absl::StrCat("images: expected 1 to ",
                                                   service_.max_batch_images,
                                                   " images, got ", count));
  }
  items_ = std::vector<Item>(count);
  std::vector<BatchTask*> tasks(count);
  const Clock::time_point deadline = Deadline(context_);
  response_.mutable_results()->Reserve(count);
  for (int i = 0; i < count; ++i) {
    absl::StatusOr<Image> image =
        ToImage(request_.images(i), service_.model.image,
                absl::StrCat("images[", i, "]"));
    if (!image.ok()) return image.status();
    Item& item = items_[i];
    item.image = *image;
    item.deadline = deadline;
    item.call = this;
    item.result = response_.add_results();
    tasks[i] = &item;
  }
  unanswered_ = tasks.size();
  return service_.scheduler->SubmitAll(tasks, received_);
}

void ClassifyBatchCall::Item::Done(const absl::Status& status,
                                   const Prediction* prediction,
                                   const TaskTiming& timing) {
  if (status.ok()) {
    FillResponse(*prediction, timing, result);
    const Clock::time_point now = Clock::now();
    result->mutable_timing()->set_total_seconds(Seconds(now - call->received_));
    call->service_.metrics->OnPrediction(prediction->label,
                                         now - timing.finished);
  }
  call->OnItemDone(status);
}

void ClassifyBatchCall::OnItemDone(const absl::Status& status) {
  if (!status.ok()) {
    MutexLock lock(&mutex_);
    if (first_error_.ok()) first_error_ = status;
  }
  if (unanswered_.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
  absl::Status result;
  {
    MutexLock lock(&mutex_);
    result = first_error_;
  }
  End(result);
}

// The last use of the call.
void ClassifyBatchCall::End(const absl::Status& status) {
  service_.metrics->OnRequest(Method::kClassifyBatch, status.code(),
                              Clock::now() - received_);
  Finish(status);
}

void ClassifyBatchCall::OnCancelled() {
  for (Item& item : items_) item.Cancel();
}

}  // namespace vit
