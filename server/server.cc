#include "server/server.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/rpc/credentials.h"
#include "server/services/classifier_service.h"
#include "server/telemetry/log.h"

namespace vit {
namespace {

using Phase = ServingState::Phase;

constexpr char kClassifier[] = "vit.v1.Classifier";
constexpr char kModels[] = "vit.v1.Models";
constexpr char kHealth[] = "grpc.health.v1.Health";
constexpr char kAdmin[] = "vit.admin.v1.Admin";

// Under overload calls then wait with the client, where their deadlines run and
// the dead ones cost this server nothing, and not unseen in its sockets. Enough
// for one connection to keep every worker busy; and at least what RFC 9113
// recommends (section 6.5.2).
int MaxCallsPerConnection(const ServerOptions& options, size_t workers) {
  if (options.max_calls_per_connection > 0) {
    return options.max_calls_per_connection;
  }
  constexpr size_t kLeast = 100;
  constexpr size_t kMost = 1'000'000;
  return static_cast<int>(
      std::clamp(2 * workers * options.max_batch_size, kLeast, kMost));
}

// One takes in and sends out what about two workers compute.
size_t LoopsFor(size_t workers) { return std::max<size_t>(workers / 2, 1); }

RpcServerOptions PublicOptions(const ServerOptions& options,
                               const MemoryBudget& budget, size_t workers) {
  return {
      .address = options.address,
      .loops = LoopsFor(workers),
      .max_connections = budget.max_connections,
      .max_calls_per_connection = MaxCallsPerConnection(options, workers),
      .max_message_bytes = static_cast<int>(budget.max_message_bytes),
      .quota_bytes = budget.grpc_quota(),
      .admission = {.max_calls = budget.max_calls,
                    .max_streams = budget.max_streams,
                    .max_reading = budget.max_reading,
                    .message_timeout =
                        std::chrono::seconds(options.message_timeout_seconds),
                    .write_timeout =
                        std::chrono::seconds(options.write_timeout_seconds)},
      .connection_idle_seconds = options.connection_idle_seconds,
      .connection_age_seconds = options.connection_age_seconds,
      .connection_age_grace_seconds = options.connection_age_grace_seconds,
      .keepalive_seconds = options.keepalive_seconds};
}

auto Credentials(const ServerOptions& options) {
  return MakeCredentials({.certificate = options.tls_certificate,
                          .key = options.tls_key,
                          .client_ca = options.tls_client_ca});
}

void LogTokens(const absl::StatusOr<size_t>& tokens) {
  if (tokens.ok()) {
    return Log(absl::StrCat("tokens read again: ", *tokens));
  }
  const std::string message =
      absl::StrCat(std::string(tokens.status().message()),
                   "; the tokens of before stay in use");
  Log({.severity = Severity::kWarning, .message = message});
}

}  // namespace

Server::Server(const ServerOptions& options, ServerParts parts)
    : options_(options),
      parts_(std::move(parts)),
      health_(parts_.state, {kClassifier, kModels}),
      reflection_({kClassifier, kModels, kHealth}),
      admin_reflection_({kAdmin, kModels, kHealth}) {
  service_.pick_model = parts_.pick_model;
  service_.pool = parts_.pool;
  service_.metrics = parts_.metrics;
  service_.slow_requests = std::make_unique<SlowRequestLog>(
      std::chrono::milliseconds(options.slow_request_ms));
  service_.max_images_per_call = options.max_images_per_call;
  service_.default_deadline =
      std::chrono::milliseconds(options.default_deadline_ms);
  service_.max_deadline = std::chrono::milliseconds(options.max_deadline_ms);
  for (size_t i = 0; i < LoopsFor(parts_.pool->workers()); ++i) {
    service_.bursts.push_back(std::make_unique<ArrivalBurst>(parts_.pool));
  }
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(
    const ServerOptions& options, ServerParts parts) {
  std::unique_ptr<Server> server(new Server(options, std::move(parts)));
  if (absl::Status status = server->StartPublic(); !status.ok()) return status;
  if (absl::Status status = server->StartAdmin(); !status.ok()) return status;
  server->StartWatchdog();
  server->parts_.state->Advance(Phase::kServing);
  return server;
}

absl::Status Server::CheckFiles(const ServerOptions& options,
                                ServerParts parts) {
  Server server(options, std::move(parts));
  const auto credentials = Credentials(options);
  if (!credentials.ok()) return credentials.status();
  return server.ReadTokens(server.PublicMethods());
}

MethodTable Server::PublicMethods() {
  MethodTable methods;
  AddClassifierMethods(&service_, options_.max_explanations, &methods);
  AddModelsMethods(parts_.list_models, &methods);
  health_.AddMethods(&methods);
  if (options_.reflection) reflection_.AddMethods(&methods);
  return methods;
}

absl::Status Server::StartPublic() {
  const auto credentials = Credentials(options_);
  if (!credentials.ok()) return credentials.status();
  MethodTable methods = PublicMethods();
  if (absl::Status status = ReadTokens(methods); !status.ok()) return status;
  RpcServerOptions rpc_options =
      PublicOptions(options_, parts_.budget, parts_.pool->workers());
  rpc_options.credentials = *credentials;
  rpc_options.authenticator = authenticator_.get();
  auto server = RpcServer::Start(rpc_options, std::move(methods), parts_.state,
                                 parts_.metrics);
  if (!server.ok()) return server.status();
  public_ = *std::move(server);
  return absl::OkStatus();
}

absl::Status Server::ReadTokens(const MethodTable& methods) {
  if (options_.tokens.empty()) return absl::OkStatus();
  std::set<std::string> names;  // without the service's
  for (const auto& [name, method] : methods) {
    if (!method.without_token) names.insert(name.substr(name.rfind('/') + 1));
  }
  auto authenticator =
      Authenticator::Open(options_.tokens, names, parts_.metrics, LogTokens);
  if (!authenticator.ok()) return authenticator.status();
  authenticator_ = *std::move(authenticator);
  return absl::OkStatus();
}

absl::Status Server::StartAdmin() {
  if (options_.admin_address.empty()) return absl::OkStatus();
  MethodTable methods;
  AddAdminMethods(parts_.request_reload, &methods);
  AddModelsMethods(parts_.list_models, &methods);
  health_.AddMethods(&methods);
  admin_reflection_.AddMethods(&methods);
  auto server = RpcServer::Start(
      {.address = options_.admin_address,
       .admission = {.max_calls = 16, .max_streams = 16, .max_reading = 16}},
      std::move(methods), parts_.state, &not_counted_);
  if (!server.ok()) return server.status();
  admin_ = *std::move(server);
  return absl::OkStatus();
}

void Server::StartWatchdog() {
  std::vector<EventLoop*> loops = public_->loops();
  std::vector<Admission*> admissions = {&public_->admission()};
  if (admin_ != nullptr) {
    for (EventLoop* loop : admin_->loops()) loops.push_back(loop);
    admissions.push_back(&admin_->admission());
  }
  watchdog_ = std::make_unique<Watchdog>(
      std::chrono::seconds(options_.watchdog_seconds), std::move(loops),
      parts_.pool, std::move(admissions), parts_.state, parts_.metrics,
      parts_.own_memory, parts_.budget.total(), parts_.on_hung,
      &public_->acceptor());
}

Server::~Server() {
  if (public_ != nullptr) Drain();
}

bool Server::Drain() {
  if (std::exchange(drained_, true)) return complete_;
  if (public_ != nullptr) {
    parts_.state->Advance(Phase::kLameDuck);
    std::this_thread::sleep_for(
        std::chrono::seconds(options_.lame_duck_seconds));
    parts_.state->Advance(Phase::kDraining);
    parts_.pool->StopDelaying();
    complete_ = public_->Drain(
        Clock::now() + std::chrono::seconds(options_.drain_timeout_seconds));
  }
  // Nobody pings the loops or cuts off calls any more.
  watchdog_.reset();
  if (admin_ != nullptr) admin_->CutOff();
  if (public_ != nullptr) public_->CutOff();
  parts_.pool->Drain();
  parts_.state->Advance(Phase::kStopped);
  return complete_;
}

}  // namespace vit
