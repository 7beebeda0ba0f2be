#include "server/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vit {
namespace {

constexpr int kDefaultMessageBytes = 4 << 20;  // gRPC's own limit

// Longer than a client's way here and back; and how long clients that go on
// calling can hold up the end.
constexpr std::chrono::milliseconds kQuiet{100};
constexpr std::chrono::seconds kLongestQuiet{1};

BatchSchedulerOptions SchedulerOptions(const ServerOptions& options) {
  BatchSchedulerOptions result;
  result.policy.max_batch_size = options.max_batch_size;
  result.policy.max_queue_delay =
      std::chrono::microseconds(options.max_queue_delay_us);
  result.max_queue_size = options.max_queue_size;
  return result;
}

// A ClassifyBatch as large as the queue must come through, and be judged by
// its number of images, not by its bytes; within what protobuf can hold.
int MaxMessageBytes(const ServerOptions& options, const ModelInfo& model) {
  constexpr int64_t kMost = int64_t{1} << 30;
  const int64_t needed =
      int64_t{options.max_queue_size} * (model.image.size() + 16) + 1024;
  return static_cast<int>(
      std::clamp<int64_t>(needed, kDefaultMessageBytes, kMost));
}

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

}  // namespace

Server::Server(const ServerOptions& options,
               std::vector<std::unique_ptr<Classifier>> classifiers,
               const std::map<std::string, std::string>& build,
               prometheus::Registry* registry, ServingState* state)
    : options_(options),
      state_(state),
      model_(classifiers.front()->info()),
      metrics_(registry, model_, build),
      scheduler_(SchedulerOptions(options), std::move(classifiers), &metrics_),
      service_({.model = model_,
                .max_batch_images = options.max_queue_size,
                .scheduler = &scheduler_,
                .metrics = &metrics_,
                .calls = &calls_}),
      health_(v1::Classifier::service_full_name()) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(
    const ServerOptions& options,
    std::vector<std::unique_ptr<Classifier>> classifiers,
    const std::map<std::string, std::string>& build,
    prometheus::Registry* registry, ServingState* state) {
  std::unique_ptr<Server> server(
      new Server(options, std::move(classifiers), build, registry, state));
  if (absl::Status status = server->Listen(); !status.ok()) return status;
  state->Advance(ServingState::Phase::kServing);
  return server;
}

absl::Status Server::Listen() {
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  // A port that another process listens on is an error, not a share of it.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(
      GRPC_ARG_MAX_CONCURRENT_STREAMS,
      MaxCallsPerConnection(options_, scheduler_.workers()));
  builder.SetMaxReceiveMessageSize(MaxMessageBytes(options_, model_));
  builder.AddListeningPort(options_.address, grpc::InsecureServerCredentials(),
                           &port_);
  builder.RegisterService(service_.grpc());
  builder.RegisterService(health_.grpc());
  for (size_t loop = 0; loop < LoopsFor(scheduler_.workers()); ++loop) {
    loops_.push_back(std::make_unique<EventLoop>(builder.AddCompletionQueue()));
  }
  grpc_ = builder.BuildAndStart();
  if (grpc_ == nullptr || port_ == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen for gRPC on ", options_.address,
                     ": is the port taken or the host not this machine's?"));
  }
  for (const std::unique_ptr<EventLoop>& loop : loops_) {
    service_.Serve(loop.get());
    health_.Serve(loop.get());
    loop->Start();
  }
  return absl::OkStatus();
}

Server::~Server() { Drain(); }

bool Server::Drain() {
  if (std::exchange(drained_, true)) return complete_;
  state_->Advance(ServingState::Phase::kDraining);
  if (grpc_ != nullptr) {
    health_.SetNotServing();
    calls_.StartDraining();
    scheduler_.Hurry();
    complete_ = calls_.WaitUntilIdle(
        Clock::now() + std::chrono::seconds(options_.drain_timeout_seconds));
    // A call that comes when gRPC shuts down is answered with Cancelled, which
    // clients do not retry, so it goes on refusing until the clients have
    // understood. This also lets those who watch health hear of it; they hold
    // on until they are cut off.
    calls_.WaitUntilQuiet(kQuiet, Clock::now() + kLongestQuiet);
    grpc_->Shutdown(std::chrono::system_clock::now());
  }
  scheduler_.Drain();
  // Nothing but the loops begins anything on a call from here on.
  loops_.clear();
  return complete_;
}

}  // namespace vit
