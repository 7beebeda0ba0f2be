#ifndef MNIST_VIT_TESTS_SERVER_RPC_FAKE_OBSERVER_H_
#define MNIST_VIT_TESTS_SERVER_RPC_FAKE_OBSERVER_H_

#include <array>
#include <condition_variable>
#include <cstddef>
#include <functional>
#include <mutex>

#include "server/base/rpc_observer.h"

namespace vit::testing {

// Counts what it is told. Thread-safe.
class FakeObserver : public RpcObserver {
 public:
  void OnRefused(Rule rule) override {
    std::lock_guard lock(mutex_);
    ++refused_[static_cast<size_t>(rule)];
    if (on_refused) on_refused(rule);
    changed_.notify_all();
  }
  void OnCalls(size_t in_flight) override {
    std::lock_guard lock(mutex_);
    calls_ = in_flight;
    changed_.notify_all();
  }
  void OnConnections(size_t open) override {
    std::lock_guard lock(mutex_);
    connections_ = open;
    changed_.notify_all();
  }

  int refused(Rule rule) {
    std::lock_guard lock(mutex_);
    return refused_[static_cast<size_t>(rule)];
  }
  size_t calls() {
    std::lock_guard lock(mutex_);
    return calls_;
  }
  void WaitForCalls(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return calls_ == count; });
  }
  void WaitForConnections(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return connections_ == count; });
  }
  void WaitForRefused(Rule rule, int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock,
                  [&] { return refused_[static_cast<size_t>(rule)] >= count; });
  }

  // Set before anything happens; null: nothing more is done.
  std::function<void(Rule)> on_refused;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::array<int, kRules> refused_{};
  size_t calls_ = 0;
  size_t connections_ = 0;
};

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_SERVER_RPC_FAKE_OBSERVER_H_
