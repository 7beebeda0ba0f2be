#ifndef MNIST_VIT_SERVER_SIGNALS_H_
#define MNIST_VIT_SERVER_SIGNALS_H_

#include <signal.h>

#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "server/base/mutex.h"

namespace vit {

// Waits for the signals that an operator sends, on a thread of its own. To be
// made before any other thread, so that all of them block these signals.
//
// SIGTERM and SIGINT: while nothing is served, the process ends at once with
// code 0; later WaitForEnd returns. A second one ends the process at once with
// code 1. SIGHUP: calls the function that reloads.
class Signals {
 public:
  Signals();
  // Waits for no signal any more.
  ~Signals();

  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  // From now on SIGTERM and SIGINT are an orderly end, and SIGHUP calls
  // `reload`, on the thread that waits for the signals.
  void StartServing(std::function<void()> reload) ABSL_LOCKS_EXCLUDED(mutex_);

  // Waits for SIGTERM or SIGINT; returns its number.
  int WaitForEnd() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  void OnEnd(int signal) ABSL_LOCKS_EXCLUDED(mutex_);
  void OnHangup() ABSL_LOCKS_EXCLUDED(mutex_);

  sigset_t signals_;
  Mutex mutex_;
  CondVar changed_;
  bool serving_ ABSL_GUARDED_BY(mutex_) = false;
  int end_ ABSL_GUARDED_BY(mutex_) = 0;
  std::function<void()> reload_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_SIGNALS_H_
