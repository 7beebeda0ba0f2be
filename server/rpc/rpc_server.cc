#include "server/rpc/rpc_server.h"

#include <grpcpp/resource_quota.h>

#include <chrono>
#include <utility>

namespace vit {
namespace {

constexpr int kMillisecondsPerSecond = 1000;
constexpr int kReadAheadBytes = 16 << 10;

// Longer than a client's way here and back; and how long clients that go on
// calling can hold up the end.
constexpr std::chrono::milliseconds kQuiet{100};
constexpr std::chrono::seconds kLongestQuiet{1};

// What gRPC itself is to refuse, bound and close.
void SetArguments(const RpcServerOptions& options,
                  grpc::ServerBuilder* builder) {
  const auto set = [builder](const char* name, int value) {
    builder->AddChannelArgument(name, value);
  };
  const auto set_seconds = [&set](const char* name, int seconds) {
    if (seconds > 0) set(name, seconds * kMillisecondsPerSecond);
  };
  set(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_calls_per_connection);
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
  // What a stream may send ahead of being read. gRPC's own choice grows with
  // the connection's speed, to megabytes for each of a hundred streams. A
  // message that is being read has the room that it needs all the same.
  set(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  set(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kReadAheadBytes);
  builder->SetMaxReceiveMessageSize(options.max_message_bytes);
  // gRPC 1.51 inflates a message before it looks at its size.
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  grpc::ResourceQuota quota("vit-server");
  quota.Resize(static_cast<size_t>(options.quota_bytes));
  builder->SetResourceQuota(quota);
}

}  // namespace

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(
    const RpcServerOptions& options, MethodTable methods,
    const ServingState* state, RpcObserver* observer) {
  std::unique_ptr<RpcServer> server(
      new RpcServer(options, std::move(methods), state, observer));
  if (absl::Status status = server->Listen(options); !status.ok()) {
    return status;
  }
  return server;
}

RpcServer::RpcServer(const RpcServerOptions& options, MethodTable methods,
                     const ServingState* state, RpcObserver* observer)
    : observer_(this, observer),
      admission_(state, options.admission, observer) {
  calls_.service = &generic_;
  calls_.admission = &admission_;
  calls_.observer = observer;
  calls_.authenticator = options.authenticator;
  calls_.methods = std::move(methods);
  for (const auto& [name, method] : calls_.methods) {
    if (method.max_calls > 0) calls_.limited[&method] = 0;
  }
}

absl::Status RpcServer::Listen(const RpcServerOptions& options) {
  auto acceptor = ConnectionAcceptor::Listen(
      options.address, options.max_connections, &observer_);
  if (!acceptor.ok()) return acceptor.status();
  acceptor_ = *std::move(acceptor);
  grpc::ServerBuilder builder;
  SetArguments(options, &builder);
  builder.RegisterAsyncGenericService(&generic_);
  auto to_grpc = builder.experimental().AddExternalConnectionAcceptor(
      grpc::ServerBuilder::experimental_type::ExternalConnectionType::FROM_FD,
      options.credentials);
  for (size_t i = 0; i < options.loops; ++i) {
    loops_.push_back(
        std::make_unique<EventLoop>(builder.AddCompletionQueue(), i));
  }
  grpc_ = builder.BuildAndStart();
  if (grpc_ == nullptr) return absl::InternalError("gRPC cannot start");
  for (const std::unique_ptr<EventLoop>& loop : loops_) {
    Call::Listen(&calls_, loop.get());
    loop->OnConnections(0);
    loop->Start();
  }
  acceptor_->Start(std::move(to_grpc));
  return absl::OkStatus();
}

void RpcServer::LoopWaker::OnConnections(size_t open) {
  observer_.OnConnections(open);
  for (const std::unique_ptr<EventLoop>& loop : server_.loops_) {
    loop->OnConnections(open);
  }
}

std::vector<EventLoop*> RpcServer::loops() const {
  std::vector<EventLoop*> loops;
  for (const std::unique_ptr<EventLoop>& loop : loops_) {
    loops.push_back(loop.get());
  }
  return loops;
}

bool RpcServer::Drain(Clock::time_point deadline) {
  acceptor_->StopAccepting();
  admission_.StartDraining();
  admission_.WaitUntilIdle(deadline);
  // A call that comes when gRPC shuts down is answered with Cancelled, which
  // clients do not retry, so it goes on refusing until the clients have
  // understood.
  admission_.WaitUntilQuiet(kQuiet, Clock::now() + kLongestQuiet);
  return admission_.WaitUntilIdle(Clock::now());
}

void RpcServer::CutOff() {
  if (grpc_ != nullptr) {
    grpc_->Shutdown(std::chrono::system_clock::now());
  }
  acceptor_.reset();  // it tells the loops of connections
  loops_.clear();
  grpc_.reset();
}

RpcServer::~RpcServer() {
  if (!loops_.empty()) CutOff();
}

}  // namespace vit
