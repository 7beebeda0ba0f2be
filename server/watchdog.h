#ifndef MNIST_VIT_SERVER_WATCHDOG_H_
#define MNIST_VIT_SERVER_WATCHDOG_H_

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/base/clock.h"
#include "server/base/mutex.h"
#include "server/base/serving_state.h"
#include "server/batching/worker_pool.h"
#include "server/rpc/admission.h"
#include "server/rpc/event_loop.h"
#include "server/telemetry/metrics.h"

namespace vit {

// What to do about a server that has hung for too long, and how.
using OnHung = std::function<void(const std::string& what)>;

// A thread that looks after the others a few times a second. It cuts off calls
// that keep the server waiting too long, and exports how the server does. If an
// event loop does not answer, or a worker does not finish a batch that should
// be done long since, the server is not ready any more, so that balancers look
// away; if that lasts, `on_hung` ends it, so that whoever started it starts
// another.
//
// Everything that it is given outlives it.
class Watchdog {
 public:
  // `limit`: after how long the server counts as hung; zero: never.
  Watchdog(Clock::duration limit, std::vector<EventLoop*> loops,
           WorkerPool* pool, Admission* admission, ServingState* state,
           Metrics* metrics, OnHung on_hung);
  ~Watchdog();

  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  // `on_time`: how long this thread has run on time, so that others had the
  // chance, too.
  void Look(Clock::time_point now, Clock::duration on_time);

  const Clock::duration limit_;
  const std::vector<EventLoop*> loops_;
  WorkerPool* const pool_;
  Admission* const admission_;
  ServingState* const state_;
  Metrics* const metrics_;
  const OnHung on_hung_;

  Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_WATCHDOG_H_
