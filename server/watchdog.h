#ifndef MNIST_VIT_SERVER_WATCHDOG_H_
#define MNIST_VIT_SERVER_WATCHDOG_H_

#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/base/clock.h"
#include "server/base/mutex.h"
#include "server/base/serving_state.h"
#include "server/batching/worker_pool.h"
#include "server/limits/memory_budget.h"
#include "server/rpc/admission.h"
#include "server/rpc/connection_acceptor.h"
#include "server/rpc/event_loop.h"
#include "server/rpc/executor_load.h"
#include "server/telemetry/metrics.h"

namespace vit {

// What to do about a server that has hung for too long, and how.
using OnHung = std::function<void(const std::string& what)>;

// A thread that looks after the others. It cuts off calls that keep the server
// waiting too long, and exports how the server does.
//
// gRPC 1.51 reads a message of any size that a peer announces, and only then
// looks at its limit. So fifty times a second the watchdog looks at the
// process's memory. If that has grown by a fifth of what the budget allows, it
// cuts off half-sent messages (Admission::RelievePressure) and gives the memory
// back to the system. If it has grown by three tenths, it ends the connections
// that cause it (ConnectionTable::RelievePressure). It also ends connections
// that keep a thread from all others (ConnectionTable::OnTick).
//
// If an event loop does not answer, or a worker does not finish a batch that
// should be done long since, the server is not ready any more, so that
// balancers look away. If that lasts, `on_hung` ends it, so that whoever
// started it starts another.
//
// Everything that it is given outlives it.
class Watchdog {
 public:
  // `limit`: after how long the server counts as hung; zero: never.
  // `budget_bytes`: what peers may make the process grow by.
  Watchdog(Clock::duration limit, std::vector<EventLoop*> loops,
           WorkerPool* pool, std::vector<Admission*> admissions,
           ServingState* state, Metrics* metrics, const OwnMemory* own_memory,
           int64_t budget_bytes, OnHung on_hung,
           ConnectionAcceptor* acceptor = nullptr);
  ~Watchdog();

  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  void WatchMemory(Clock::time_point now);
  // `on_time`: how long this thread has run on time, so that others had the
  // chance, too.
  void WatchStalls(Clock::time_point now, Clock::duration on_time);
  // Whether a thread that reads from connections is kept from all else.
  bool IsStalled(Clock::time_point now, Clock::duration on_time) const;
  // Asks all loops to show that they run. Returns how long the slowest took to
  // answer, or has not answered.
  Clock::duration PingLoops() const;
  void Look(Clock::time_point now, Clock::duration on_time);

  const Clock::duration limit_;
  const std::vector<EventLoop*> loops_;
  WorkerPool* const pool_;
  const std::vector<Admission*> admissions_;
  ServingState* const state_;
  Metrics* const metrics_;
  const OwnMemory* const own_memory_;
  const int64_t budget_bytes_;
  const OnHung on_hung_;
  ConnectionAcceptor* const acceptor_;  // may be null

  Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // The thread's.
  ExecutorLoad executor_;
  bool executor_is_busy_ = false;
  std::thread thread_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_WATCHDOG_H_
