#include "server/signals.h"

#include <pthread.h>

#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/telemetry/log.h"

namespace vit {

Signals::Signals() : signals_() {
  sigemptyset(&signals_);
  sigaddset(&signals_, SIGTERM);
  sigaddset(&signals_, SIGINT);
  sigaddset(&signals_, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  thread_ = std::thread([this] { Run(); });
}

Signals::~Signals() {
  {
    MutexLock lock(&mutex_);
    end_ = -1;
  }
  // It waits for a signal, and takes this one for its own end.
  pthread_kill(thread_.native_handle(), SIGHUP);
  thread_.join();
}

void Signals::StartServing(std::function<void()> reload) {
  MutexLock lock(&mutex_);
  serving_ = true;
  reload_ = std::move(reload);
}

int Signals::WaitForEnd() {
  MutexLock lock(&mutex_);
  while (end_ == 0) changed_.Wait(&mutex_);
  return end_;
}

void Signals::Run() {
  while (true) {
    int signal = 0;
    sigwait(&signals_, &signal);
    {
      MutexLock lock(&mutex_);
      if (end_ < 0) return;
    }
    if (signal == SIGHUP) {
      OnHangup();
    } else {
      OnEnd(signal);
    }
  }
}

void Signals::OnEnd(int signal) {
  MutexLock lock(&mutex_);
  // The destructor waits for this thread; the signal came too late.
  if (end_ < 0) return;
  if (!serving_) {
    Log(absl::StrCat("signal ", signal, " before serving: leaving at once"));
    std::_Exit(EXIT_SUCCESS);
  }
  if (end_ > 0) {
    Log("second signal: leaving at once");
    std::_Exit(EXIT_FAILURE);
  }
  Log(absl::StrCat("signal ", signal, ": finishing what was accepted"));
  end_ = signal;
  changed_.NotifyAll();
}

void Signals::OnHangup() {
  std::function<void()> reload;
  {
    MutexLock lock(&mutex_);
    if (end_ != 0) return;
    reload = reload_;
  }
  if (reload) reload();
}

}  // namespace vit
