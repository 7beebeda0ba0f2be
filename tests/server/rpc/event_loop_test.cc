#include "server/rpc/event_loop.h"

#include <grpcpp/alarm.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

namespace vit {
namespace {

class FunctionEvent final : public Event {
 public:
  explicit FunctionEvent(std::function<void(bool)> function)
      : function_(std::move(function)) {}
  void OnEvent(bool ok) override { function_(ok); }

 private:
  const std::function<void(bool)> function_;
};

class FunctionWork final : public IdleWork {
 public:
  explicit FunctionWork(std::function<void()> function)
      : function_(std::move(function)) {}
  void Run() override { function_(); }

 private:
  const std::function<void()> function_;
};

class EventLoopTest : public ::testing::Test {
 protected:
  // Has the loop's thread run a function.
  void Run(std::function<void()> function) {
    std::promise<void> done;
    FunctionEvent event([&](bool /*ok*/) {
      function();
      done.set_value();
    });
    grpc::Alarm alarm;
    alarm.Set(loop_->queue(), std::chrono::system_clock::now(), &event);
    done.get_future().wait();
  }

  void Ping() {
    loop_->Ping();
    while (loop_->Silence() > Clock::duration::zero()) {
      std::this_thread::yield();
    }
  }

  // Pings until the loop rests: then it does not report what is begun in its
  // queue. That takes it a second.
  void StartResting() {
    loop_->OnConnections(0);
    loop_->Start();
    const Clock::time_point give_up = Clock::now() + std::chrono::minutes(1);
    while (reported_.load()) {
      ASSERT_LT(Clock::now(), give_up);
      Ping();
      reported_.store(false);
      alarms_.push_back(std::make_unique<grpc::Alarm>());
      alarms_.back()->Set(loop_->queue(), std::chrono::system_clock::now(),
                          &event_);
      const Clock::time_point late = Clock::now() + kSoon;
      while (!reported_.load() && Clock::now() < late) {
        std::this_thread::yield();
      }
    }
  }
  static constexpr std::chrono::milliseconds kSoon{50};

  std::atomic<bool> reported_{true};
  FunctionEvent event_{[this](bool /*ok*/) {
    reported_.store(true);
    reported_.notify_all();
  }};
  std::vector<std::unique_ptr<grpc::Alarm>> alarms_;
  grpc::ServerBuilder builder_;
  std::unique_ptr<EventLoop> loop_ =
      std::make_unique<EventLoop>(builder_.AddCompletionQueue());
};

TEST_F(EventLoopTest, IdleWorkRunsOnceNothingElseWaits) {
  loop_->Start();
  bool returned = false;
  std::promise<bool> ran;
  FunctionWork work([&] { ran.set_value(returned); });
  Run([&] {
    loop_->RunWhenIdle(&work);
    loop_->RunWhenIdle(&work);  // waits already
    returned = true;
  });
  EXPECT_TRUE(ran.get_future().get());
}

TEST_F(EventLoopTest, IdleWorkMakesPlaceForOther) {
  loop_->Start();
  std::vector<int> ran;
  std::promise<void> done;
  FunctionWork first([&] { ran.push_back(1); });
  FunctionWork second([&] {
    ran.push_back(2);
    done.set_value();
  });
  Run([&] {
    loop_->RunWhenIdle(&first);
    loop_->RunWhenIdle(&second);
    ran.push_back(0);
  });
  done.get_future().wait();
  EXPECT_EQ(ran, (std::vector<int>{1, 0, 2}));
}

TEST_F(EventLoopTest, AnAnsweredPingHasALag) {
  loop_->Start();
  loop_->Ping();
  Run([] {});
  EXPECT_GE(loop_->Lag(), Clock::duration(0));
  EXPECT_LT(loop_->Lag(), std::chrono::seconds(30));
}

TEST_F(EventLoopTest, APingThatIsNotAnsweredLagsMoreAndMore) {
  loop_->Ping();  // the loop has not started
  const Clock::duration first = loop_->Lag();
  while (loop_->Lag() == first) std::this_thread::yield();
  EXPECT_GT(loop_->Lag(), first);
}

TEST_F(EventLoopTest, IdleWorkRunsHoweverBusyTheLoopIs) {
  loop_->Start();
  // Each begins the next, so that one always waits to be told.
  constexpr int kOthers = 1000;
  int others = 0;
  int others_before = 0;
  std::promise<void> done;
  FunctionWork work([&] { others_before = others; });
  std::vector<std::unique_ptr<grpc::Alarm>> alarms;
  std::unique_ptr<FunctionEvent> other;
  const auto begin_other = [&] {
    alarms.push_back(std::make_unique<grpc::Alarm>());
    // In the past: it waits at once, and not for the next millisecond.
    alarms.back()->Set(
        loop_->queue(),
        std::chrono::system_clock::now() - std::chrono::seconds(1),
        other.get());
  };
  other = std::make_unique<FunctionEvent>([&](bool /*ok*/) {
    if (++others < kOthers) return begin_other();
    done.set_value();
  });
  Run([&] {
    loop_->RunWhenIdle(&work);
    begin_other();
  });
  done.get_future().wait();
  EXPECT_GT(others_before, 0);
  EXPECT_LE(others_before, EventLoop::kMaxEventsBeforeIdleWork + 1);
}

TEST_F(EventLoopTest, ItRestsUntilThereIsAConnection) {
  StartResting();
  EXPECT_FALSE(reported_.load());
  loop_->OnConnections(1);
  reported_.wait(false);
}

TEST_F(EventLoopTest, OneThatRestsAnswersPings) {
  StartResting();
  Ping();
}

TEST_F(EventLoopTest, OneThatRestsEnds) {
  StartResting();
  loop_.reset();
}

TEST_F(EventLoopTest, OneThatNeverStartedEndsToo) { loop_.reset(); }

}  // namespace
}  // namespace vit
