#include "server/rpc/call.h"

#include <chrono>
#include <exception>
#include <iterator>
#include <new>
#include <string_view>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/request_id.h"
#include "server/rpc/status.h"

namespace vit {

using Phase = AdmittedCall::Phase;
using Rule = RpcObserver::Rule;

void CallHandler::OnStart() { call_->Read(); }

void Call::Listen(CallContext* shared, EventLoop* loop) {
  // The constructor is private, so not make_unique. It belongs to itself.
  new Call(shared, loop);  // NOLINT(cppcoreguidelines-owning-memory)
}

Call::Call(CallContext* shared, EventLoop* loop)
    : shared_(shared), loop_(loop) {
  loop_->OnCallMade();
  context_.AsyncNotifyWhenDone(&over_);
  shared_->service->RequestCall(&context_, &stream_, loop_->queue(),
                                loop_->queue(), &arrived_);
}

Call::~Call() {
  handler_.reset();
  if (holds_method_place_) --shared_->limited.at(method_);
  shared_->admission->Leave(this);
  loop_->OnCallGone();
}

// Nothing that a handler does may end the process.
void Call::Tag::OnEvent(bool ok) {
  Call* const call = call_;
  try {
    (call->*then_)(ok);
  } catch (const std::bad_alloc&) {
    call->Finish(absl::ResourceExhaustedError("the server is out of memory"));
  } catch (const std::exception& error) {
    call->Finish(absl::InternalError(error.what()));
  }
  if (call->events_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete call;
}

Event* Call::Tag::BeginUnlessOver() {
  int events = call_->events_.load();
  while (events > 0 &&
         !call_->events_.compare_exchange_weak(events, events + 1)) {
  }
  return events > 0 ? this : nullptr;
}

void Call::OnArrival(bool ok) {
  if (!ok) {  // the server shuts down: nothing else will be reported
    events_.fetch_sub(2, std::memory_order_relaxed);
    return;
  }
  Listen(shared_, loop_);
  received_ = Clock::now();
  if (const absl::Status status = Start(); !status.ok()) {
    Finish(status);
  } else {
    handler_->OnStart();
  }
}

absl::Status Call::Start() {
  const auto found = shared_->methods.find(context_.method());
  if (found == shared_->methods.end()) {
    observer().OnRefused(Rule::kUnknownMethod);
    return absl::UnimplementedError(
        absl::StrCat("unknown method '", context_.method(),
                     "': expected one that server reflection lists"));
  }
  method_ = &found->second;
  Identify();
  if (absl::Status status = Authenticate(); !status.ok()) return status;
  const absl::Status status = shared_->admission->Enter(
      this, method_->is_stream, received_, method_->while_draining);
  if (!status.ok()) return status;
  if (absl::Status busy = TakePlaceOfMethod(); !busy.ok()) return busy;
  handler_ = method_->new_handler(this);
  return absl::OkStatus();
}

absl::Status Call::TakePlaceOfMethod() {
  if (method_->max_calls == 0) return absl::OkStatus();
  std::atomic<size_t>& calls = shared_->limited.at(method_);
  if (++calls <= method_->max_calls) {
    holds_method_place_ = true;
    return absl::OkStatus();
  }
  // A refused call that its client is slow to notice takes no place.
  --calls;
  observer().OnRefused(Rule::kMethodBusy);
  return absl::ResourceExhaustedError(
      absl::StrCat("all ", method_->max_calls, " places for calls of ",
                   context_.method(), " are taken"));
}

void Call::OnOver(bool /*ok*/) {
  if (context_.IsCancelled() && handler_ != nullptr) handler_->OnCancelled();
}

void Call::Read() { stream_.Read(&message_, read_.Begin()); }

void Call::OnRead(bool ok) {
  if (!ok) return handler_->OnClosed();
  shared_->admission->OnMessage(this, Clock::now());
  handler_->OnMessage(message_);
}

void Call::Write(const grpc::ByteBuffer& message, bool more) {
  shared_->admission->Move(this, Phase::kAnswering, Clock::now());
  grpc::WriteOptions options;
  if (more) options.set_buffer_hint();
  stream_.Write(message, options, written_.Begin());
}

void Call::OnWritten(bool ok) {
  if (!finishing_.load()) {
    shared_->admission->Move(this, Phase::kStreaming, Clock::now());
  }
  handler_->OnWritten(ok);
}

void Call::Finish(const absl::Status& status) {
  if (!BeginFinish()) return;
  if (!status.ok()) AddRetryHint(status, context_);
  stream_.Finish(ToGrpcStatus(status), &finished_);
}

void Call::FinishWith(const grpc::ByteBuffer& message) {
  if (!BeginFinish()) return;
  stream_.WriteAndFinish(message, {}, grpc::Status::OK, &finished_);
}

bool Call::BeginFinish() {
  if (finishing_.exchange(true)) return false;
  shared_->admission->Move(this, Phase::kAnswering, Clock::now());
  return true;
}

void Call::StartDraining() {
  Event* const event = drain_.BeginUnlessOver();
  if (event == nullptr) return;
  drain_alarm_.emplace();
  drain_alarm_->Set(loop_->queue(), std::chrono::system_clock::now(), event);
}

void Call::OnDrainAlarm(bool /*ok*/) {
  if (handler_ != nullptr) handler_->OnDrain();
}

Clock::time_point Call::deadline() const { return Deadline(context_); }

void Call::Identify() {
  const std::string peer = context_.peer();
  set_connection(absl::HashOf(peer));
  std::string_view client = peer;
  // The address of a local peer says nothing: a proxy's, or anyone's.
  const bool is_local = client.starts_with("unix") ||
                        client.starts_with("ipv4:127.") ||
                        client.starts_with("ipv6:%5B::1%5D");
  if (!is_local) client = client.substr(0, client.rfind(':'));
  flow_ = absl::HashOf(client);
  request_id_ = ValidRequestId(Header(kRequestIdHeader));
  if (!request_id_.empty()) {
    context_.AddTrailingMetadata(kRequestIdHeader, std::string(request_id_));
  }
}

absl::Status Call::Authenticate() {
  if (shared_->authenticator == nullptr || method_->without_token) {
    return absl::OkStatus();
  }
  absl::StatusOr<Caller> caller = shared_->authenticator->Check(
      Header("authorization"), context_.method(), received_);
  if (!caller.ok()) return caller.status();
  flow_ = caller->flow;
  share_ = caller->share;
  client_ = std::move(caller->name);
  return absl::OkStatus();
}

// gRPC makes the map when it is asked for the first time: on the loop's thread,
// by Identify. From then on any thread may look.
std::string_view Call::Header(const char* name) {
  const auto [first, end] = context_.client_metadata().equal_range(name);
  if (first == end || std::next(first) != end) return {};
  return {first->second.data(), first->second.size()};
}

std::string Call::RequestId() {
  if (!request_id_.empty()) return std::string(request_id_);
  std::call_once(made_up_once_, [this] {
    made_up_request_id_ = NewRequestId();
    context_.AddTrailingMetadata(kRequestIdHeader, made_up_request_id_);
  });
  return made_up_request_id_;
}

std::string_view Call::TraceId() { return TraceIdOf(Header("traceparent")); }

}  // namespace vit
