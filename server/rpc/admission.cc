#include "server/rpc/admission.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

namespace vit {

using Phase = AdmittedCall::Phase;
using Rule = RpcObserver::Rule;

Admission::Admission(const ServingState* state, const AdmissionLimits& limits,
                     RpcObserver* observer)
    : state_(state), limits_(limits), observer_(observer) {}

absl::Status Admission::Enter(AdmittedCall* call, bool is_stream,
                              Clock::time_point now, bool while_draining) {
  MutexLock lock(&mutex_);
  if (draining_ && !while_draining) {
    last_refused_ = now;
    observer_->OnRefused(Rule::kNotServing);
    return absl::UnavailableError(
        absl::StrCat("server is ", state_->description()));
  }
  if (!MakeRoom(*call, is_stream, now)) {
    observer_->OnRefused(is_stream ? Rule::kTooManyStreams
                                   : Rule::kTooManyCalls);
    return absl::ResourceExhaustedError(
        is_stream ? absl::StrCat("all ", limits_.max_streams,
                                 " places for streams are taken")
                  : absl::StrCat("all ", limits_.max_calls,
                                 " places for calls are taken"));
  }
  call->admitted_ = call->has_place_ = true;
  call->is_stream_ = is_stream;
  ++admitted_;
  CountPlace(*call, 1);
  Append(call, is_stream ? Phase::kStreaming : Phase::kReading, now);
  observer_->OnCalls(admitted_);
  return absl::OkStatus();
}

bool Admission::MakeRoom(const AdmittedCall& newcomer, bool is_stream,
                         Clock::time_point now) {
  const Clock::time_point before = now - kPatience;
  if (is_stream) {
    return streams_ < limits_.max_streams ||
           CutOffOldest(is_stream, {Phase::kStreaming, Phase::kAnswering},
                        before, Rule::kMadeRoom) ||
           CutOffOfLargest(
               newcomer, is_stream,
               {Phase::kStreaming, Phase::kAnswering, Phase::kComputing});
  }
  if (ListOf(Phase::kReading, is_stream).size >= limits_.max_reading &&
      !CutOffOldest(is_stream, {Phase::kReading}, before, Rule::kMadeRoom) &&
      !CutOffOfLargest(newcomer, is_stream, {Phase::kReading})) {
    return false;
  }
  return calls_ < limits_.max_calls ||
         CutOffOldest(is_stream, {Phase::kReading, Phase::kAnswering}, before,
                      Rule::kMadeRoom) ||
         CutOffOfLargest(
             newcomer, is_stream,
             {Phase::kReading, Phase::kAnswering, Phase::kComputing});
}

bool Admission::CutOffOfLargest(const AdmittedCall& newcomer, bool is_stream,
                                std::initializer_list<Phase> phases) {
  std::array<uint32_t, kConnections> calls{};
  for (const Phase phase : phases) {
    const auto& by_connection = ListOf(phase, is_stream).by_connection;
    for (size_t i = 0; i < kConnections; ++i) calls[i] += by_connection[i];
  }
  const auto largest = std::max_element(calls.begin(), calls.end());
  if (*largest <= calls[newcomer.connection_ % kConnections] + 1) return false;
  const size_t connection = largest - calls.begin();
  for (const Phase phase : phases) {
    for (AdmittedCall* call = ListOf(phase, is_stream).first; call != nullptr;
         call = call->next_) {
      if (call->connection_ % kConnections != connection) continue;
      CutOff(call, Rule::kMadeRoom);
      return true;
    }
  }
  return false;
}

void Admission::Move(AdmittedCall* call, Phase phase, Clock::time_point now) {
  MutexLock lock(&mutex_);
  if (!call->admitted_ || call->phase_ == Phase::kEnding) return;
  Unlink(call);
  Append(call, phase, now);
}

void Admission::OnMessage(AdmittedCall* call, Clock::time_point now) {
  MutexLock lock(&mutex_);
  if (!call->admitted_) return;
  // A stream that sends more, but does not read its answer, gains no time.
  if (call->phase_ != Phase::kReading && call->phase_ != Phase::kStreaming) {
    return;
  }
  Unlink(call);
  Append(call, Phase::kComputing, now);
}

void Admission::Leave(AdmittedCall* call) {
  MutexLock lock(&mutex_);
  if (!call->admitted_) return;
  call->admitted_ = false;
  Unlink(call);
  if (call->has_place_) CountPlace(*call, -1);
  observer_->OnCalls(--admitted_);
  if (admitted_ == 0) changed_.NotifyAll();
}

void Admission::CutOffLate(Clock::time_point now) {
  MutexLock lock(&mutex_);
  while (CutOffOldest(/*is_stream=*/false, {Phase::kReading},
                      now - limits_.message_timeout, Rule::kMessageTimeout)) {
  }
  for (const bool is_stream : {false, true}) {
    while (CutOffOldest(is_stream, {Phase::kAnswering},
                        now - limits_.write_timeout, Rule::kWriteTimeout)) {
    }
  }
}

bool Admission::CutOffOldest(bool is_stream,
                             std::initializer_list<Phase> phases,
                             Clock::time_point before, Rule rule) {
  AdmittedCall* oldest = nullptr;
  for (const Phase phase : phases) {
    AdmittedCall* const call = ListOf(phase, is_stream).first;
    if (call == nullptr || call->since_ > before) continue;
    if (oldest == nullptr || call->since_ < oldest->since_) oldest = call;
  }
  if (oldest == nullptr) return false;
  CutOff(oldest, rule);
  return true;
}

void Admission::CutOff(AdmittedCall* call, Rule rule) {
  Unlink(call);
  Append(call, Phase::kEnding, call->since_);
  call->has_place_ = false;
  CountPlace(*call, -1);
  observer_->OnRefused(rule);
  call->CutOff();
}

size_t Admission::RelievePressure(Clock::time_point now) {
  MutexLock lock(&mutex_);
  const Clock::time_point before = now - kShortPatience;
  size_t cut = 0;
  while (CutOffOldest(/*is_stream=*/false, {Phase::kReading}, before,
                      Rule::kMemoryPressure)) {
    ++cut;
  }
  if (cut > 0) return cut;
  const size_t half =
      (ListOf(Phase::kStreaming, /*is_stream=*/true).size + 1) / 2;
  while (cut < half && CutOffOldest(/*is_stream=*/true, {Phase::kStreaming},
                                    before, Rule::kMemoryPressure)) {
    ++cut;
  }
  return cut;
}

void Admission::StartDraining() {
  MutexLock lock(&mutex_);
  draining_ = true;
  for (const List& list : lists_[/*is_stream=*/true]) {
    for (AdmittedCall* call = list.first; call != nullptr; call = call->next_) {
      call->StartDraining();
    }
  }
}

bool Admission::WaitUntilIdle(Clock::time_point deadline) {
  MutexLock lock(&mutex_);
  while (admitted_ > 0) {
    if (Clock::now() >= deadline) return false;
    changed_.WaitUntil(&mutex_, deadline);
  }
  return true;
}

bool Admission::WaitUntilQuiet(Clock::duration quiet,
                               Clock::time_point deadline) {
  const Clock::time_point start = Clock::now();
  MutexLock lock(&mutex_);
  while (true) {
    const Clock::time_point end = std::max(start, last_refused_) + quiet;
    const Clock::time_point now = Clock::now();
    if (now >= end) return true;
    if (now >= deadline) return false;
    changed_.WaitUntil(&mutex_, std::min(end, deadline));
  }
}

void Admission::Append(AdmittedCall* call, Phase phase, Clock::time_point now) {
  List& list = ListOf(phase, call->is_stream_);
  call->phase_ = phase;
  call->since_ = now;
  call->next_ = nullptr;
  call->previous_ = list.last;
  (list.last != nullptr ? list.last->next_ : list.first) = call;
  list.last = call;
  ++list.size;
  ++list.by_connection[call->connection_ % kConnections];
}

void Admission::Unlink(AdmittedCall* call) {
  List& list = ListOf(call->phase_, call->is_stream_);
  (call->previous_ != nullptr ? call->previous_->next_ : list.first) =
      call->next_;
  (call->next_ != nullptr ? call->next_->previous_ : list.last) =
      call->previous_;
  --list.size;
  --list.by_connection[call->connection_ % kConnections];
}

}  // namespace vit
