#include "server/services/classify_stream.h"

#include <utility>

#include "server/rpc/patience.h"
#include "server/rpc/status.h"
#include "server/services/request.h"

namespace vit {

ClassifyStreamCall::ClassifyStreamCall(const ServiceContext& service,
                                       EventLoop* loop)
    : Call(loop), service_(service) {
  free_.reserve(kMaxInFlight);
  for (Item& item : items_) {
    item.call = this;
    free_.push_back(&item);
  }
  service_.grpc->RequestClassifyStream(&context_, &stream_, queue(),
                                       loop->queue(), arrived());
}

ClassifyStreamCall::~ClassifyStreamCall() {
  if (entered_) service_.calls->Leave(this);
}

void ClassifyStreamCall::Renew() { Wait<ClassifyStreamCall>(service_, loop()); }

void ClassifyStreamCall::OnArrived() {
  deadline_ = Deadline(context_);
  entered_ = service_.calls->Enter(this);
  MutexLock lock(&mutex_);
  draining_ = draining_ || !entered_;
  Advance();
}

void ClassifyStreamCall::Drain() {
  MutexLock lock(&mutex_);
  draining_ = true;
  Advance();
}

void ClassifyStreamCall::Advance() {
  if (finished_) return;
  const bool closing = client_closed_ || draining_;
  if (!closing && reading_ == nullptr && !free_.empty()) {
    reading_ = free_.back();
    free_.pop_back();
    stream_.Read(&reading_->request, read_.Begin());
  }
  // A read that is under way ends with the stream; its place is not in use.
  const size_t idle = free_.size() + (reading_ != nullptr ? 1 : 0);
  if (closing && idle == kMaxInFlight) {
    finished_ = true;
    stream_.Finish(
        ToGrpcStatus(draining_ && !client_closed_
                         ? absl::UnavailableError("server is shutting down")
                         : absl::OkStatus()),
        finished());
  }
}

ClassifyStreamCall::Write ClassifyStreamCall::NextWrite() {
  if (writing_ != nullptr || answers_ == 0) return {};
  writing_ = answered_[first_answered_];
  first_answered_ = (first_answered_ + 1) % kMaxInFlight;
  --answers_;
  return {.item = writing_, .last = answers_ == 0};
}

void ClassifyStreamCall::Begin(const Write& write) {
  if (write.item == nullptr) return;
  // An answer with others behind it need not be sent before the last of them.
  grpc::WriteOptions options;
  if (!write.last) options.set_buffer_hint();
  stream_.Write(write.item->response, options, written_.Begin());
}

void ClassifyStreamCall::OnRead(bool ok) {
  SetPatient(service_.scheduler->crowded());
  Item* item = nullptr;
  {
    MutexLock lock(&mutex_);
    item = reading_;
    reading_ = nullptr;
    if (!ok || finished_) {
      client_closed_ = client_closed_ || !ok;
      free_.push_back(item);
      return Advance();
    }
    Advance();
  }
  item->received = Clock::now();
  item->deadline = deadline_;
  item->response.set_id(item->request.id());
  absl::StatusOr<Image> image =
      ToImage(item->request.image(), service_.model.image);
  absl::Status status = image.status();
  if (status.ok()) {
    item->image = *image;
    status = service_.scheduler->Submit(item, item->received);
  }
  if (!status.ok()) {
    SetError(status, item);
    Answer(item, status.code());
  }
}

void ClassifyStreamCall::Item::Done(const absl::Status& status,
                                    const Prediction* prediction,
                                    const TaskTiming& timing) {
  if (status.ok()) {
    FillResponse(*prediction, timing, response.mutable_response());
    const Clock::time_point now = Clock::now();
    response.mutable_response()->mutable_timing()->set_total_seconds(
        Seconds(now - received));
    call->service_.metrics->OnPrediction(prediction->label,
                                         now - timing.finished);
  } else {
    call->SetError(status, this);
  }
  call->Answer(this, status.code());
}

void ClassifyStreamCall::SetError(const absl::Status& status, Item* item) {
  v1::Error* error = item->response.mutable_error();
  error->set_code(static_cast<int>(status.code()));
  error->set_message(std::string(status.message()));
}

void ClassifyStreamCall::Answer(Item* item, absl::StatusCode code) {
  service_.metrics->OnRequest(Method::kClassifyStream, code,
                              Clock::now() - item->received);
  Write write;
  {
    MutexLock lock(&mutex_);
    answered_[(first_answered_ + answers_) % kMaxInFlight] = item;
    ++answers_;
    write = NextWrite();
  }
  Begin(write);
}

// A write that failed means that the client is gone: what is left is answered
// into the void, and the stream ends.
void ClassifyStreamCall::OnWritten(bool ok) {
  Write write;
  {
    MutexLock lock(&mutex_);
    free_.push_back(std::exchange(writing_, nullptr));
    client_closed_ = client_closed_ || !ok;
    write = NextWrite();
    Advance();
  }
  Begin(write);
}

// The items stay cancelled, so also those that are yet to be submitted.
void ClassifyStreamCall::OnCancelled() {
  MutexLock lock(&mutex_);
  client_closed_ = true;
  for (Item& item : items_) item.Cancel();
  Advance();
}

}  // namespace vit
