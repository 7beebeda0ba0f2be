#ifndef MNIST_VIT_SERVER_HTTP_METRICS_PAGE_H_
#define MNIST_VIT_SERVER_HTTP_METRICS_PAGE_H_

#include <prometheus/collectable.h>

#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "server/base/clock.h"
#include "server/base/mutex.h"
#include "server/http/http_responder.h"

namespace vit {

// Answers requests for /metrics from a thread of its own; see MetricsRoute.
// Thread-safe.
class MetricsPage {
 public:
  MetricsPage(
      std::vector<std::shared_ptr<prometheus::Collectable>> collectables,
      Clock::duration interval);

  // Drops the requests that wait.
  ~MetricsPage();

  MetricsPage(const MetricsPage&) = delete;
  MetricsPage& operator=(const MetricsPage&) = delete;

  // Answers with a page that is collected from now on. Does not block.
  void Answer(HttpResponder respond) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Loop() ABSL_LOCKS_EXCLUDED(mutex_);
  // Blocks until a page is wanted and its time has come; empty at the end.
  std::vector<HttpResponder> TakeWaiting(Clock::time_point not_before)
      ABSL_LOCKS_EXCLUDED(mutex_);
  HttpResponse Collect() const;

  const std::vector<std::shared_ptr<prometheus::Collectable>> collectables_;
  const Clock::duration interval_;
  Mutex mutex_;
  CondVar changed_;
  std::vector<HttpResponder> waiting_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_HTTP_METRICS_PAGE_H_
