#include "server/rpc/call_tracker.h"

#include <algorithm>

namespace vit {

bool CallTracker::Refuse() {
  last_refused_ = Clock::now();
  return false;
}

bool CallTracker::Enter() {
  MutexLock lock(&mutex_);
  if (draining_) return Refuse();
  ++calls_;
  return true;
}

void CallTracker::Leave() {
  MutexLock lock(&mutex_);
  if (--calls_ == 0) changed_.NotifyAll();
}

bool CallTracker::Enter(DrainableCall* call) {
  MutexLock lock(&mutex_);
  if (draining_) return Refuse();
  ++calls_;
  drainable_.insert(call);
  return true;
}

void CallTracker::Leave(DrainableCall* call) {
  MutexLock lock(&mutex_);
  drainable_.erase(call);
  if (--calls_ == 0) changed_.NotifyAll();
}

void CallTracker::StartDraining() {
  // Under the lock: a call that is in the set cannot leave it, and so lives.
  MutexLock lock(&mutex_);
  draining_ = true;
  for (DrainableCall* call : drainable_) call->Drain();
}

bool CallTracker::WaitUntilIdle(Clock::time_point deadline) {
  MutexLock lock(&mutex_);
  while (calls_ > 0) {
    if (Clock::now() >= deadline) return false;
    changed_.WaitUntil(&mutex_, deadline);
  }
  return true;
}

bool CallTracker::WaitUntilQuiet(Clock::duration quiet,
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

}  // namespace vit
