#include "client/classifier_client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpc/health/v1/health.pb.h"
#include "nlohmann/json.hpp"

namespace vit::client {
namespace {

// gRPC takes more for a mistake and lowers it.
constexpr int kMaxAttempts = 5;

std::string JsonSeconds(absl::Duration duration) {
  return absl::StrFormat("%.6fs", absl::ToDoubleSeconds(duration));
}

absl::Status Validate(const ClientOptions& options) {
  const auto invalid = [](const std::string& what) {
    return absl::InvalidArgumentError(what);
  };
  if (options.target.empty()) return invalid("the server's address is empty");
  if (options.deadline <= absl::ZeroDuration()) {
    return invalid("the deadline must be more than zero");
  }
  if (options.max_attempts < 1 || options.max_attempts > kMaxAttempts) {
    return invalid(absl::StrCat("max_attempts is ", options.max_attempts,
                                ", expected 1 to ", kMaxAttempts));
  }
  if (options.initial_backoff < absl::Microseconds(1) ||
      options.max_backoff < options.initial_backoff ||
      !(options.backoff_multiplier > 0)) {
    return invalid("the backoff must be more than zero");
  }
  return absl::OkStatus();
}

std::shared_ptr<grpc::Channel> MakeChannel(const ClientOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(ServiceConfigJson(options));
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // The answer to Explain grows with layers, heads and tokens.
  arguments.SetMaxReceiveMessageSize(std::numeric_limits<int>::max());
  return grpc::CreateCustomChannel(
      options.target, grpc::InsecureChannelCredentials(), arguments);
}

void SetDeadline(const ClientOptions& options, grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() +
                       absl::ToChronoMicroseconds(options.deadline));
}

absl::Status ToStatus(const grpc::Status& status, const std::string& target) {
  if (status.ok()) return absl::OkStatus();
  // gRPC's codes and Abseil's are the same numbers.
  return {static_cast<absl::StatusCode>(status.error_code()),
          absl::StrCat(target, ": ", status.error_message())};
}

void SetBytes(std::span<const uint8_t> bytes, std::string& field) {
  field.assign(bytes.begin(), bytes.end());
}

}  // namespace

std::string ServiceConfigJson(const ClientOptions& options) {
  nlohmann::json method = {{"name", {{{"service", "vit.v1.Classifier"}}}}};
  // gRPC refuses a retry policy of one attempt.
  if (options.max_attempts > 1) {
    method["retryPolicy"] = {
        {"maxAttempts", options.max_attempts},
        {"initialBackoff", JsonSeconds(options.initial_backoff)},
        {"maxBackoff", JsonSeconds(options.max_backoff)},
        {"backoffMultiplier", options.backoff_multiplier},
        {"retryableStatusCodes", {"UNAVAILABLE", "RESOURCE_EXHAUSTED"}}};
  }
  const nlohmann::json round_robin = {
      {"round_robin", nlohmann::json::object()}};
  // A server under overload refuses early, and every retry would be refused
  // too: once half of the tokens are spent, of which each failure takes one and
  // each success gives a tenth back, there are no more retries.
  const nlohmann::json throttling = {{"maxTokens", 100}, {"tokenRatio", 0.1}};
  const nlohmann::json config = {
      {"loadBalancingConfig", nlohmann::json::array({round_robin})},
      {"retryThrottling", throttling},
      {"methodConfig", nlohmann::json::array({method})}};
  return config.dump();
}

absl::StatusOr<std::unique_ptr<ClassifierClient>> ClassifierClient::Create(
    const ClientOptions& options) {
  if (absl::Status status = Validate(options); !status.ok()) return status;
  // The constructor is private, so not make_unique.
  return std::unique_ptr<ClassifierClient>(new ClassifierClient(options));
}

ClassifierClient::ClassifierClient(const ClientOptions& options)
    : options_(options),
      channel_(MakeChannel(options)),
      stub_(v1::Classifier::NewStub(channel_)) {}

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
  SetDeadline(options_, context);
  v1::ClassifyRequest request;
  SetBytes(image, *request.mutable_image());
  v1::ClassifyResponse response;
  const grpc::Status status = stub_->Classify(&context, request, &response);
  if (!status.ok()) return ToStatus(status, options_.target);
  return response;
}

void ClassifierClient::ClassifyAsync(std::span<const uint8_t> image,
                                     ClassifyCallback done) {
  struct Call {
    grpc::ClientContext context;
    v1::ClassifyRequest request;
    v1::ClassifyResponse response;
    ClassifyCallback done;
  };
  const auto call = std::make_shared<Call>();
  SetDeadline(options_, call->context);
  SetBytes(image, *call->request.mutable_image());
  call->done = std::move(done);
  {
    const absl::MutexLock lock(&mutex_);
    ++pending_calls_;
  }
  // The callback owns the call, which ends after it.
  stub_->async()->Classify(&call->context, &call->request, &call->response,
                           [this, call](const grpc::Status& status) {
                             if (status.ok()) {
                               call->done(std::move(call->response));
                             } else {
                               call->done(ToStatus(status, options_.target));
                             }
                             EndCall();
                           });
}

absl::StatusOr<v1::ClassifyBatchResponse> ClassifierClient::ClassifyBatch(
    std::span<const std::span<const uint8_t>> images) {
  grpc::ClientContext context;
  SetDeadline(options_, context);
  v1::ClassifyBatchRequest request;
  for (const std::span<const uint8_t> image : images) {
    SetBytes(image, *request.add_images());
  }
  v1::ClassifyBatchResponse response;
  const grpc::Status status =
      stub_->ClassifyBatch(&context, request, &response);
  if (!status.ok()) return ToStatus(status, options_.target);
  return response;
}

absl::StatusOr<v1::ExplainResponse> ClassifierClient::Explain(
    std::span<const uint8_t> image) {
  grpc::ClientContext context;
  SetDeadline(options_, context);
  v1::ExplainRequest request;
  SetBytes(image, *request.mutable_image());
  v1::ExplainResponse response;
  const grpc::Status status = stub_->Explain(&context, request, &response);
  if (!status.ok()) return ToStatus(status, options_.target);
  return response;
}

absl::StatusOr<Health> ClassifierClient::CheckHealth(
    const std::string& service) {
  using grpc::health::v1::HealthCheckResponse;
  const auto stub = grpc::health::v1::Health::NewStub(channel_);
  grpc::ClientContext context;
  SetDeadline(options_, context);
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(service);
  HealthCheckResponse response;
  const grpc::Status status = stub->Check(&context, request, &response);
  if (!status.ok()) return ToStatus(status, options_.target);
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
