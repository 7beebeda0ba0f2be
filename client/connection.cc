#include "client/connection.h"

#include <chrono>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace vit::client {
namespace {

// How soon a lost connection is tried again, at first and at most. In between
// gRPC multiplies by 1.6 and varies by a fifth, so that the clients of a server
// that was restarted do not all come at once. Less than 100 is taken for 100.
constexpr int kFirstReconnectMs = 100;
constexpr int kMaxReconnectMs = 2000;

// How often the target's name may be resolved: only when a connection is lost.
// gRPC's 30 seconds are longer than a roll-out that changes all addresses.
constexpr int kMinResolveMs = 1000;

grpc::ChannelArguments BaseArguments() {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kFirstReconnectMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kMaxReconnectMs);
  arguments.SetInt(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, kMinResolveMs);
  return arguments;
}

std::shared_ptr<grpc::Channel> MakeChannel(const ClientOptions& options) {
  grpc::ChannelArguments arguments = BaseArguments();
  arguments.SetServiceConfigJSON(ServiceConfigJson(options));
  // The answer to Explain grows with layers, heads and tokens.
  arguments.SetMaxReceiveMessageSize(std::numeric_limits<int>::max());
  // gRPC does not retry a request of more bytes than this. Its default, 256
  // KiB, would leave out batches of a few photographs.
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE,
                   std::numeric_limits<int>::max());
  return grpc::CreateCustomChannel(
      options.target, grpc::InsecureChannelCredentials(), arguments);
}

// Whether the status can only have come from a server.
bool IsAnswer(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::UNKNOWN:
      return false;
    default:
      return true;
  }
}

}  // namespace

Connection::Connection(const ClientOptions& options)
    : options_(options), channel_(MakeChannel(options)) {}

void Connection::Prepare(grpc::ClientContext& context) const {
  PrepareWithoutDeadline(context);
  context.set_deadline(std::chrono::system_clock::now() +
                       absl::ToChronoMicroseconds(options_.deadline));
}

bool Connection::PrepareWithoutDeadline(grpc::ClientContext& context) const {
  const bool waits = waits_.load(std::memory_order_relaxed);
  context.set_wait_for_ready(waits);
  return waits;
}

absl::Status Connection::End(const grpc::Status& status) {
  if (IsAnswer(status)) OnAnswer();
  if (status.ok()) return absl::OkStatus();
  if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED &&
      channel_->GetState(/*try_to_connect=*/false) != GRPC_CHANNEL_READY) {
    return Unreachable();
  }
  // gRPC's codes and Abseil's are the same numbers.
  return {static_cast<absl::StatusCode>(status.error_code()),
          absl::StrCat(options_.target, ": ", status.error_message())};
}

absl::Status Connection::EndAtDeadline() {
  if (channel_->GetState(/*try_to_connect=*/false) != GRPC_CHANNEL_READY) {
    return Unreachable();
  }
  return absl::DeadlineExceededError(
      absl::StrCat(options_.target, ": no answer within ",
                   absl::FormatDuration(options_.deadline)));
}

absl::Status Connection::Unreachable() {
  waits_.store(false, std::memory_order_relaxed);
  return absl::UnavailableError(
      absl::StrCat(options_.target, ": no healthy server was reached within ",
                   absl::FormatDuration(options_.deadline)));
}

std::shared_ptr<grpc::Channel> MakeHealthChannel(const ClientOptions& options) {
  return grpc::CreateCustomChannel(
      options.target, grpc::InsecureChannelCredentials(), BaseArguments());
}

}  // namespace vit::client
