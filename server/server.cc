#include "server/server.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/resource_quota.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <thread>
#include <utility>

#include "grpc/health/v1/health.pb.h"
#include "server/services/classifier_service.h"
#include "vit/v1/classifier.pb.h"

namespace vit {
namespace {

using Phase = ServingState::Phase;

constexpr char kService[] = "vit.v1.Classifier";
constexpr int kMillisecondsPerSecond = 1000;

// Longer than a client's way here and back; and how long clients that go on
// calling can hold up the end.
constexpr std::chrono::milliseconds kQuiet{100};
constexpr std::chrono::seconds kLongestQuiet{1};

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

AdmissionLimits LimitsOf(const ServerOptions& options,
                         const MemoryBudget& budget) {
  return {
      .max_calls = budget.max_calls,
      .max_streams = budget.max_streams,
      .max_reading = budget.max_reading,
      .message_timeout = std::chrono::seconds(options.message_timeout_seconds),
      .write_timeout = std::chrono::seconds(options.write_timeout_seconds)};
}

// What gRPC itself is to refuse, bound and close.
void SetArguments(const ServerOptions& options, const MemoryBudget& budget,
                  size_t workers, grpc::ServerBuilder* builder) {
  const auto set = [builder](const char* name, int value) {
    builder->AddChannelArgument(name, value);
  };
  const auto set_seconds = [&set](const char* name, int seconds) {
    if (seconds > 0) set(name, seconds * kMillisecondsPerSecond);
  };
  set(GRPC_ARG_MAX_CONCURRENT_STREAMS, MaxCallsPerConnection(options, workers));
  set(GRPC_ARG_MAX_METADATA_SIZE, 8 << 10);
  set(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10 * kMillisecondsPerSecond);
  set_seconds(GRPC_ARG_MAX_CONNECTION_IDLE_MS, options.connection_idle_seconds);
  set_seconds(GRPC_ARG_MAX_CONNECTION_AGE_MS, options.connection_age_seconds);
  set_seconds(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS,
              options.connection_age_grace_seconds);
  set_seconds(GRPC_ARG_KEEPALIVE_TIME_MS, options.keepalive_seconds);
  set_seconds(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10);
  set(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  // A client that pings more often is closed.
  set(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS,
      10 * kMillisecondsPerSecond);
  builder->SetMaxReceiveMessageSize(static_cast<int>(budget.max_message_bytes));
  // gRPC 1.51 inflates a message before it looks at its size.
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  grpc::ResourceQuota quota("vit-server");
  quota.Resize(static_cast<size_t>(budget.grpc_quota()));
  builder->SetResourceQuota(quota);
}

}  // namespace

Server::Server(const ServerOptions& options, ServerParts parts)
    : options_(options),
      parts_(std::move(parts)),
      admission_(parts_.state, LimitsOf(options, parts_.budget),
                 parts_.metrics),
      health_(parts_.state, {kService}),
      reflection_({kService, "grpc.health.v1.Health"}) {
  service_.pick_model = parts_.pick_model;
  service_.pool = parts_.pool;
  service_.metrics = parts_.metrics;
  service_.max_images_per_call = options.max_images_per_call;
  service_.default_deadline =
      std::chrono::milliseconds(options.default_deadline_ms);
  service_.max_deadline = std::chrono::milliseconds(options.max_deadline_ms);
  calls_.service = &generic_;
  calls_.admission = &admission_;
  calls_.observer = parts_.metrics;
  AddMethods();
}

void Server::AddMethods() {
  AddClassifierMethods(&service_, options_.max_explanations, &calls_.methods);
  health_.AddMethods(&calls_.methods);
  if (options_.reflection) reflection_.AddMethods(&calls_.methods);
  for (const auto& [name, method] : calls_.methods) {
    if (method.max_calls > 0) calls_.limited[&method] = 0;
  }
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(
    const ServerOptions& options, ServerParts parts) {
  std::unique_ptr<Server> server(new Server(options, std::move(parts)));
  if (absl::Status status = server->Listen(); !status.ok()) return status;
  server->parts_.state->Advance(Phase::kServing);
  return server;
}

absl::Status Server::Listen() {
  auto acceptor = ConnectionAcceptor::Listen(
      options_.address, parts_.budget.max_connections, parts_.metrics);
  if (!acceptor.ok()) return acceptor.status();
  acceptor_ = *std::move(acceptor);
  grpc::ServerBuilder builder;
  SetArguments(options_, parts_.budget, parts_.pool->workers(), &builder);
  builder.RegisterAsyncGenericService(&generic_);
  auto to_grpc = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      grpc::InsecureServerCredentials());
  for (size_t i = 0; i < LoopsFor(parts_.pool->workers()); ++i) {
    loops_.push_back(
        std::make_unique<EventLoop>(builder.AddCompletionQueue(), i));
    service_.bursts.push_back(std::make_unique<ArrivalBurst>(parts_.pool));
  }
  grpc_ = builder.BuildAndStart();
  if (grpc_ == nullptr) return absl::InternalError("gRPC cannot start");
  for (const std::unique_ptr<EventLoop>& loop : loops_) {
    Call::Listen(&calls_, loop.get());
    loop->Start();
  }
  acceptor_->Start(std::move(to_grpc));
  std::vector<EventLoop*> loops;
  for (const std::unique_ptr<EventLoop>& loop : loops_) {
    loops.push_back(loop.get());
  }
  watchdog_ = std::make_unique<Watchdog>(
      std::chrono::seconds(options_.watchdog_seconds), std::move(loops),
      parts_.pool, &admission_, parts_.state, parts_.metrics, parts_.on_hung);
  return absl::OkStatus();
}

Server::~Server() { Drain(); }

bool Server::Drain() {
  if (std::exchange(drained_, true)) return complete_;
  if (grpc_ != nullptr) {
    parts_.state->Advance(Phase::kLameDuck);
    std::this_thread::sleep_for(
        std::chrono::seconds(options_.lame_duck_seconds));
    parts_.state->Advance(Phase::kDraining);
    acceptor_->StopAccepting();
    admission_.StartDraining();
    parts_.pool->StopDelaying();
    complete_ = admission_.WaitUntilIdle(
        Clock::now() + std::chrono::seconds(options_.drain_timeout_seconds));
    // A call that comes when gRPC shuts down is answered with Cancelled, which
    // clients do not retry, so it goes on refusing until the clients have
    // understood.
    admission_.WaitUntilQuiet(kQuiet, Clock::now() + kLongestQuiet);
    grpc_->Shutdown(std::chrono::system_clock::now());
  }
  parts_.pool->Drain();
  watchdog_.reset();
  // Nothing but the loops begins anything on a call from here on.
  loops_.clear();
  acceptor_.reset();
  parts_.state->Advance(Phase::kStopped);
  return complete_;
}

}  // namespace vit
