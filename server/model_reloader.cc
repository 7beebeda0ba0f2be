#include "server/model_reloader.h"

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/telemetry/log.h"

namespace vit {

ModelReloader::ModelReloader(ModelRepository* repository,
                             Clock::duration interval, Metrics* metrics,
                             OwnMemory* own_memory)
    : repository_(repository),
      interval_(interval),
      metrics_(metrics),
      own_memory_(own_memory),
      thread_([this] { Run(); }) {}

ModelReloader::~ModelReloader() {
  std::vector<OnReloaded> waiting;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  thread_.join();
  {
    MutexLock lock(&mutex_);
    waiting.swap(waiting_);
  }
  for (const OnReloaded& done : waiting) {
    done(absl::UnavailableError("server is shutting down"));
  }
}

void ModelReloader::Request(OnReloaded done) {
  {
    MutexLock lock(&mutex_);
    requested_ = true;
    if (done != nullptr) waiting_.push_back(std::move(done));
  }
  changed_.NotifyAll();
}

void ModelReloader::Run() {
  std::vector<OnReloaded> waiting;
  while (Wait(&waiting)) {
    Reload(waiting);
    waiting.clear();
  }
}

bool ModelReloader::Wait(std::vector<OnReloaded>* waiting) {
  const Clock::time_point next = Clock::now() + interval_;
  MutexLock lock(&mutex_);
  while (!requested_ && !stopping_) {
    if (interval_ == Clock::duration::zero()) {
      changed_.Wait(&mutex_);
    } else if (Clock::now() >= next) {
      break;
    } else {
      changed_.WaitUntil(&mutex_, next);
    }
  }
  if (stopping_) return false;
  requested_ = false;
  waiting->swap(waiting_);
  return true;
}

void ModelReloader::Reload(const std::vector<OnReloaded>& waiting) {
  const absl::StatusOr<ReloadReport> report = repository_->Reload();
  if (report.ok()) {
    for (const std::string& line : ChangeLines(*report)) Log(line);
    metrics_->OnReload(report->loaded.size(), report->refused.size(),
                       report->retired.size());
    if (report->changed()) own_memory_->Measure();
  } else {
    Log(absl::StrCat("models cannot be reloaded: ",
                     std::string(report.status().message())));
    metrics_->OnReloadFailed();
  }
  for (const OnReloaded& done : waiting) done(report);
}

}  // namespace vit
