#ifndef MNIST_VIT_SERVER_MODEL_RELOADER_H_
#define MNIST_VIT_SERVER_MODEL_RELOADER_H_

#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/base/clock.h"
#include "server/base/mutex.h"
#include "server/limits/memory_budget.h"
#include "server/models/model_repository.h"
#include "server/services/admin_service.h"
#include "server/telemetry/metrics.h"

namespace vit {

// A thread that reloads the models: when asked to, and at an interval. It
// writes what changed to the log and to the metrics, and measures what the
// process then holds.
class ModelReloader {
 public:
  // `interval`: zero, only when asked to. The others outlive it.
  ModelReloader(ModelRepository* repository, Clock::duration interval,
                Metrics* metrics, OwnMemory* own_memory);
  // Finishes the reload that is under way; those who wait for another learn
  // that the server shuts down.
  ~ModelReloader();

  ModelReloader(const ModelReloader&) = delete;
  ModelReloader& operator=(const ModelReloader&) = delete;

  // Reloads soon. Requests that come while one is under way share the next.
  // `done` may be null. Thread-safe.
  void Request(OnReloaded done) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run() ABSL_LOCKS_EXCLUDED(mutex_);
  // Waits for a request or the interval; false at the end.
  bool Wait(std::vector<OnReloaded>* waiting) ABSL_LOCKS_EXCLUDED(mutex_);
  void Reload(const std::vector<OnReloaded>& waiting);

  ModelRepository* const repository_;
  const Clock::duration interval_;
  Metrics* const metrics_;
  OwnMemory* const own_memory_;

  Mutex mutex_;
  CondVar changed_;
  bool requested_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<OnReloaded> waiting_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_MODEL_RELOADER_H_
