#include "server/base/serving_state.h"

#include <utility>

namespace vit {

void ServingState::Advance(Phase phase) {
  {
    MutexLock lock(&mutex_);
    if (phase <= phase_) return;
    phase_ = phase;
  }
  TellListeners();
}

void ServingState::SetStalled(bool stalled) {
  {
    MutexLock lock(&mutex_);
    if (std::exchange(stalled_, stalled) == stalled) return;
  }
  TellListeners();
}

ServingState::Phase ServingState::phase() const {
  MutexLock lock(&mutex_);
  return phase_;
}

bool ServingState::ready() const {
  MutexLock lock(&mutex_);
  return phase_ == Phase::kServing && !stalled_;
}

std::string ServingState::description() const {
  MutexLock lock(&mutex_);
  switch (phase_) {
    case Phase::kStarting:
      return "starting";
    case Phase::kServing:
      return stalled_ ? "stalled" : "serving";
    case Phase::kLameDuck:
      return "shutting down: lame duck";
    case Phase::kDraining:
      return "shutting down";
    case Phase::kStopped:
      return "stopped";
  }
  return "";
}

int ServingState::AddListener(std::function<void()> listener) {
  MutexLock lock(&listeners_mutex_);
  listeners_[next_listener_] = std::move(listener);
  return next_listener_++;
}

void ServingState::RemoveListener(int listener) {
  MutexLock lock(&listeners_mutex_);
  listeners_.erase(listener);
}

void ServingState::TellListeners() {
  MutexLock lock(&listeners_mutex_);
  for (const auto& [number, listener] : listeners_) listener();
}

}  // namespace vit
