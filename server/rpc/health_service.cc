#include "server/rpc/health_service.h"

#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/message.h"

namespace vit {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

class HealthService::CheckHandler final : public CallHandler {
 public:
  CheckHandler(HealthService* health, Call* call)
      : CallHandler(call), health_(health) {}

 private:
  void OnMessage(grpc::ByteBuffer& message) override {
    HealthCheckRequest request;
    if (absl::Status s = ParseMessage(message, &request); !s.ok()) {
      return call()->Finish(s);
    }
    HealthCheckResponse response;
    response.set_status(health_->Of(request.service()));
    if (response.status() == HealthCheckResponse::SERVICE_UNKNOWN) {
      return call()->Finish(absl::NotFoundError(
          absl::StrCat("unknown service '", request.service(), "'")));
    }
    call()->FinishWith(SerializeMessage(response));
  }

  void OnClosed() override {
    call()->Finish(
        absl::InvalidArgumentError("expected one message, got none"));
  }

  HealthService* const health_;
};

// Writes the status when it differs from what was written last, one write at a
// time.
class HealthService::WatchHandler final : public CallHandler {
 public:
  WatchHandler(HealthService* health, Call* call)
      : CallHandler(call), health_(health) {}
  // Its call may have been finished without it, because memory ran out.
  ~WatchHandler() override {
    MutexLock lock(&health_->mutex_);
    health_->watching_.erase(this);
  }

  // Under the service's lock.
  void Tell() {
    if (writing_ || finished_) return;
    const Status status = health_->Of(request_.service());
    if (response_.status() != status) {
      writing_ = true;
      response_.set_status(status);
      call()->Write(SerializeMessage(response_), /*more=*/false);
    } else if (ending_) {
      Finish(absl::UnavailableError("server is shutting down"));
    }
  }

 private:
  void OnMessage(grpc::ByteBuffer& message) override {
    const absl::Status parsed = ParseMessage(message, &request_);
    MutexLock lock(&health_->mutex_);
    if (!parsed.ok()) return Finish(parsed);
    if (finished_) return;
    health_->watching_.insert(this);
    Tell();
  }

  void OnClosed() override {
    MutexLock lock(&health_->mutex_);
    Finish(absl::InvalidArgumentError("expected one message, got none"));
  }

  void OnWritten(bool ok) override {
    MutexLock lock(&health_->mutex_);
    writing_ = false;
    if (ok) Tell();
  }

  void OnCancelled() override {
    MutexLock lock(&health_->mutex_);
    Finish(absl::CancelledError());
  }

  // The last status is written first.
  void OnDrain() override {
    MutexLock lock(&health_->mutex_);
    ending_ = true;
    Tell();
  }

  // Under the service's lock.
  void Finish(const absl::Status& status) {
    if (std::exchange(finished_, true)) return;
    call()->Finish(status);
  }

  HealthService* const health_;
  HealthCheckRequest request_;
  // Guarded by the service's lock.
  HealthCheckResponse response_;
  bool writing_ = false;
  bool ending_ = false;
  bool finished_ = false;
};

HealthService::HealthService(ServingState* state,
                             std::set<std::string> services)
    : state_(state),
      services_(std::move(services)),
      listener_(state->AddListener([this] { TellWatchers(); })) {}

HealthService::~HealthService() { state_->RemoveListener(listener_); }

void HealthService::AddMethods(MethodTable* methods) {
  (*methods)["/grpc.health.v1.Health/Check"] = {
      .new_handler =
          [this](Call* call) {
            return std::make_unique<CheckHandler>(this, call);
          },
      .while_draining = true,
      .without_token = true};
  (*methods)["/grpc.health.v1.Health/Watch"] = {
      .new_handler =
          [this](Call* call) {
            return std::make_unique<WatchHandler>(this, call);
          },
      .is_stream = true,
      .without_token = true};
}

void HealthService::TellWatchers() {
  MutexLock lock(&mutex_);
  for (WatchHandler* handler : watching_) handler->Tell();
}

HealthService::Status HealthService::Of(const std::string& service) const {
  if (!service.empty() && !services_.contains(service)) {
    return HealthCheckResponse::SERVICE_UNKNOWN;
  }
  return state_->ready() ? HealthCheckResponse::SERVING
                         : HealthCheckResponse::NOT_SERVING;
}

}  // namespace vit
