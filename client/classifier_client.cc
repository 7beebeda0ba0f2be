#include "client/classifier_client.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpc/health/v1/health.pb.h"

namespace vit::client {
namespace {

// How long CheckHealth lets a connection come about. gRPC 1.51 can take one
// that is under way for failed, because it looks at errno too late
// (grpc#35064); then it tries again after 100 ms.
constexpr std::chrono::milliseconds kConnectPatience{300};

void SetBytes(std::span<const uint8_t> bytes, std::string& field) {
  field.assign(bytes.begin(), bytes.end());
}

}  // namespace

absl::StatusOr<std::unique_ptr<ClassifierClient>> ClassifierClient::Create(
    const ClientOptions& options) {
  if (absl::Status status = Validate(options); !status.ok()) return status;
  // The constructor is private, so not make_unique.
  return std::unique_ptr<ClassifierClient>(new ClassifierClient(options));
}

ClassifierClient::ClassifierClient(const ClientOptions& options)
    : connection_(options),
      stub_(v1::Classifier::NewStub(connection_.channel())),
      health_channel_(MakeHealthChannel(options)) {}

ClassifierClient::~ClassifierClient() {
  const absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(
      +[](int* pending) { return *pending == 0; }, &pending_calls_));
}

void ClassifierClient::EndCall() {
  const absl::MutexLock lock(&mutex_);
  --pending_calls_;
}

absl::StatusOr<v1::ClassifyResponse> ClassifierClient::Classify(
    std::span<const uint8_t> image) {
  grpc::ClientContext context;
  connection_.Prepare(context);
  v1::ClassifyRequest request;
  SetBytes(image, *request.mutable_image());
  v1::ClassifyResponse response;
  const grpc::Status status = stub_->Classify(&context, request, &response);
  if (absl::Status end = connection_.End(status); !end.ok()) return end;
  return response;
}

void ClassifierClient::ClassifyAsync(std::span<const uint8_t> image,
                                     ClassifyCallback done) {
  struct Call {
    std::optional<grpc::ClientContext> context{std::in_place};
    v1::ClassifyRequest request;
    v1::ClassifyResponse response;
    ClassifyCallback done;
  };
  const auto call = std::make_shared<Call>();
  connection_.Prepare(*call->context);
  SetBytes(image, *call->request.mutable_image());
  call->done = std::move(done);
  {
    const absl::MutexLock lock(&mutex_);
    ++pending_calls_;
  }
  // The callback owns the call, which ends after it. Its context goes before,
  // because it holds the channel: gRPC 1.51 joins its threads when the last
  // channel goes, so that must not be on one of them.
  stub_->async()->Classify(&*call->context, &call->request, &call->response,
                           [this, call](const grpc::Status& status) {
                             absl::Status end = connection_.End(status);
                             if (end.ok()) {
                               call->done(std::move(call->response));
                             } else {
                               call->done(std::move(end));
                             }
                             call->context.reset();
                             EndCall();
                           });
}

absl::StatusOr<v1::ClassifyBatchResponse> ClassifierClient::ClassifyBatch(
    std::span<const std::span<const uint8_t>> images) {
  grpc::ClientContext context;
  connection_.Prepare(context);
  v1::ClassifyBatchRequest request;
  for (const std::span<const uint8_t> image : images) {
    SetBytes(image, *request.add_images());
  }
  v1::ClassifyBatchResponse response;
  const grpc::Status status =
      stub_->ClassifyBatch(&context, request, &response);
  if (absl::Status end = connection_.End(status); !end.ok()) return end;
  return response;
}

absl::StatusOr<v1::ExplainResponse> ClassifierClient::Explain(
    std::span<const uint8_t> image) {
  grpc::ClientContext context;
  connection_.Prepare(context);
  v1::ExplainRequest request;
  SetBytes(image, *request.mutable_image());
  v1::ExplainResponse response;
  const grpc::Status status = stub_->Explain(&context, request, &response);
  if (absl::Status end = connection_.End(status); !end.ok()) return end;
  return response;
}

absl::StatusOr<Health> ClassifierClient::CheckHealth(
    const std::string& service) {
  using grpc::health::v1::HealthCheckResponse;
  const auto stub = grpc::health::v1::Health::NewStub(health_channel_);
  const auto now = std::chrono::system_clock::now();
  const auto deadline = now + absl::ToChronoMicroseconds(options().deadline);
  health_channel_->WaitForConnected(
      std::min<std::chrono::system_clock::time_point>(deadline,
                                                      now + kConnectPatience));
  grpc::ClientContext context;
  context.set_deadline(deadline);
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  HealthCheckResponse response;
  const grpc::Status status = stub->Check(&context, request, &response);
  if (!status.ok()) {
    // gRPC's codes and Abseil's are the same numbers.
    return absl::Status(
        static_cast<absl::StatusCode>(status.error_code()),
        absl::StrCat(options().target, ": ", status.error_message()));
  }
  switch (response.status()) {
    case HealthCheckResponse::SERVING:
      return Health::kServing;
    case HealthCheckResponse::NOT_SERVING:
      return Health::kNotServing;
    default:
      return Health::kUnknown;
  }
}

}  // namespace vit::client
