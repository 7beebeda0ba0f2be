#include "server/rpc/health_service.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/call.h"

namespace vit {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

class HealthService::CheckCall final
    : public UnaryCall<HealthCheckRequest, HealthCheckResponse> {
 public:
  CheckCall(HealthService* health, EventLoop* loop)
      : UnaryCall(loop), health_(health) {
    health_->grpc_.RequestCheck(&context_, &request_, &writer_, queue(),
                                loop->queue(), arrived());
  }

 private:
  void Renew() override { Wait<CheckCall>(health_, loop()); }

  void OnArrived() override {
    Status status = HealthCheckResponse::UNKNOWN;
    {
      MutexLock lock(&health_->mutex_);
      status = health_->Of(request_.service());
    }
    response_.set_status(status);
    Finish(status == HealthCheckResponse::SERVICE_UNKNOWN
               ? absl::NotFoundError(
                     absl::StrCat("unknown service '", request_.service(), "'"))
               : absl::OkStatus());
  }

  HealthService* const health_;
};

// Writes the status when it differs from what was written last, one write at a
// time.
class HealthService::WatchCall final : public Call {
 public:
  WatchCall(HealthService* health, EventLoop* loop)
      : Call(loop), health_(health) {
    health_->grpc_.RequestWatch(&context_, &request_, &writer_, queue(),
                                loop->queue(), arrived());
  }

  const std::string& service() const { return request_.service(); }

  // Under the service's lock.
  void Tell(Status status) {
    if (writing_ || finished_ || response_.status() == status) return;
    writing_ = true;
    response_.set_status(status);
    writer_.Write(response_, written_.Begin());
  }

 private:
  void Renew() override { Wait<WatchCall>(health_, loop()); }

  void OnArrived() override {
    MutexLock lock(&health_->mutex_);
    health_->watching_.insert(this);
    Tell(health_->Of(service()));
  }

  void OnWritten(bool ok) {
    MutexLock lock(&health_->mutex_);
    writing_ = false;
    if (ok) Tell(health_->Of(service()));
  }

  // The only end of it: by the client, or with the server.
  void OnCancelled() override {
    MutexLock lock(&health_->mutex_);
    finished_ = true;
    health_->watching_.erase(this);
    writer_.Finish(grpc::Status::CANCELLED, finished());
  }

  HealthService* const health_;
  HealthCheckRequest request_;
  grpc::ServerAsyncWriter<HealthCheckResponse> writer_{&context_};
  Step written_{this, &WatchCall::OnWritten};
  // Guarded by the service's lock.
  HealthCheckResponse response_;
  bool writing_ = false;
  bool finished_ = false;
};

HealthService::HealthService(std::string service)
    : service_(std::move(service)) {}

void HealthService::Serve(EventLoop* loop) {
  Wait<CheckCall>(this, loop);
  Wait<WatchCall>(this, loop);
}

void HealthService::SetNotServing() {
  MutexLock lock(&mutex_);
  serving_ = false;
  for (WatchCall* call : watching_) call->Tell(Of(call->service()));
}

HealthService::Status HealthService::Of(const std::string& service) {
  if (!service.empty() && service != service_) {
    return HealthCheckResponse::SERVICE_UNKNOWN;
  }
  return serving_ ? HealthCheckResponse::SERVING
                  : HealthCheckResponse::NOT_SERVING;
}

}  // namespace vit
