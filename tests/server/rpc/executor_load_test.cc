#include "server/rpc/executor_load.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <latch>
#include <thread>

namespace vit {
namespace {

constexpr double kBusy = 0.9;

// A thread with the name of gRPC's, that does nothing, and then spins.
class Thread {
 public:
  Thread() { started_.wait(); }
  ~Thread() {
    spin_.store(true);
    spin_.notify_all();
    end_.store(true);
  }
  Thread(const Thread&) = delete;
  Thread& operator=(const Thread&) = delete;

  void Spin() {
    spin_.store(true);
    spin_.notify_all();
  }

 private:
  std::latch started_{1};
  std::atomic<bool> spin_{false};
  std::atomic<bool> end_{false};
  std::jthread thread_{[this] {
    pthread_setname_np(pthread_self(), "default-executo");
    started_.count_down();
    spin_.wait(false);
    while (!end_.load()) {
    }
  }};
};

// The clock is the tests': a thread that runs at all is busy if no time seems
// to pass, and idle if much does.
TEST(ExecutorLoadTest, AThreadThatRunsIsBusy) {
  Thread thread;
  ExecutorLoad load;
  Clock::time_point now;
  EXPECT_EQ(load.Measure(now), 0);
  EXPECT_LT(load.Measure(now += std::chrono::hours(1)), kBusy);
  thread.Spin();
  while (load.Measure(now += std::chrono::nanoseconds(1)) < kBusy) {
  }
}

TEST(ExecutorLoadTest, AThreadThatStartsLaterIsFound) {
  ExecutorLoad load;
  Clock::time_point now;
  load.Measure(now);
  Thread thread;
  thread.Spin();
  while (load.Measure(now += std::chrono::nanoseconds(1)) < kBusy) {
  }
}

TEST(ExecutorLoadTest, WithoutSuchAThreadThereIsNoLoad) {
  ExecutorLoad load;
  EXPECT_EQ(load.Measure(Clock::now()), 0);
  EXPECT_EQ(load.Measure(Clock::now() + std::chrono::seconds(1)), 0);
}

}  // namespace
}  // namespace vit
