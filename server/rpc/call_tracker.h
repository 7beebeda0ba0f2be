#ifndef MNIST_VIT_SERVER_RPC_CALL_TRACKER_H_
#define MNIST_VIT_SERVER_RPC_CALL_TRACKER_H_

#include <set>

#include "absl/base/thread_annotations.h"
#include "server/base/clock.h"
#include "server/base/mutex.h"

namespace vit {

// A call that lasts until it is told to end.
class DrainableCall {
 public:
  virtual ~DrainableCall() = default;
  // Take no more from the client, answer what was taken, and finish. Must not
  // end the call before it returns.
  virtual void Drain() = 0;
};

// Knows the calls that are under way, so that a shutdown can refuse new ones
// and wait for the others. Thread-safe.
class CallTracker {
 public:
  // Counts a call in; false, and the call is refused, once draining.
  bool Enter() ABSL_LOCKS_EXCLUDED(mutex_);
  // Counts a call out.
  void Leave() ABSL_LOCKS_EXCLUDED(mutex_);

  // The same for a call that must be told of the shutdown.
  bool Enter(DrainableCall* call) ABSL_LOCKS_EXCLUDED(mutex_);
  void Leave(DrainableCall* call) ABSL_LOCKS_EXCLUDED(mutex_);

  // Refuses new calls and tells those that want to know.
  void StartDraining() ABSL_LOCKS_EXCLUDED(mutex_);

  // Waits until no call is under way; false if some still is at `deadline`.
  bool WaitUntilIdle(Clock::time_point deadline) ABSL_LOCKS_EXCLUDED(mutex_);

  // Waits until no call was refused for as long as `quiet`, beginning now;
  // false if that is not so by `deadline`.
  bool WaitUntilQuiet(Clock::duration quiet, Clock::time_point deadline)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // Remembers when; always false.
  bool Refuse() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Mutex mutex_;
  CondVar changed_;
  int calls_ ABSL_GUARDED_BY(mutex_) = 0;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  Clock::time_point last_refused_ ABSL_GUARDED_BY(mutex_);
  std::set<DrainableCall*> drainable_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_CALL_TRACKER_H_
