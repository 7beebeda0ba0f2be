#ifndef MNIST_VIT_SERVER_BASE_SERVING_STATE_H_
#define MNIST_VIT_SERVER_BASE_SERVING_STATE_H_

#include <functional>
#include <map>
#include <string>

#include "absl/base/thread_annotations.h"
#include "server/base/mutex.h"

namespace vit {

// What the process as a whole is doing. Health, /readyz and admission all ask
// this one object, so they never disagree. Thread-safe.
class ServingState {
 public:
  enum class Phase {
    kStarting,  // no model yet: not ready, takes no calls
    kServing,   // ready, unless stalled
    kLameDuck,  // not ready, so that balancers look away; takes calls still
    kDraining,  // takes no calls, finishes the accepted ones
    kStopped,
  };

  // Moves forward to `phase` and tells the listeners. Never moves back.
  void Advance(Phase phase) ABSL_LOCKS_EXCLUDED(mutex_);

  // The watchdog found that calls do not get done, or that they do again.
  // A stalled server is not ready, but takes calls.
  void SetStalled(bool stalled) ABSL_LOCKS_EXCLUDED(mutex_);

  Phase phase() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether balancers should send calls here.
  bool ready() const ABSL_LOCKS_EXCLUDED(mutex_);
  // "serving", or why not, such as "draining".
  std::string description() const ABSL_LOCKS_EXCLUDED(mutex_);

  // Has `listener` called after every change, by the thread that made the
  // change; until RemoveListener, which the returned number names it to. It may
  // ask this object, but not change it.
  int AddListener(std::function<void()> listener)
      ABSL_LOCKS_EXCLUDED(listeners_mutex_);
  // Waits for the listener to return, if it is being called.
  void RemoveListener(int listener) ABSL_LOCKS_EXCLUDED(listeners_mutex_);

 private:
  void TellListeners() ABSL_LOCKS_EXCLUDED(listeners_mutex_);

  mutable Mutex mutex_;
  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kStarting;
  bool stalled_ ABSL_GUARDED_BY(mutex_) = false;

  Mutex listeners_mutex_;
  int next_listener_ ABSL_GUARDED_BY(listeners_mutex_) = 0;
  std::map<int, std::function<void()>> listeners_
      ABSL_GUARDED_BY(listeners_mutex_);
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_BASE_SERVING_STATE_H_
