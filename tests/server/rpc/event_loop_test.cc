#include "server/rpc/event_loop.h"

#include <grpcpp/alarm.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <future>
#include <memory>
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

  grpc::ServerBuilder builder_;
  std::unique_ptr<EventLoop> loop_ =
      std::make_unique<EventLoop>(builder_.AddCompletionQueue());
};

TEST_F(EventLoopTest, WhatIsPutOffIsToldOnceNothingElseWaits) {
  loop_->Start();
  bool returned = false;
  std::promise<std::pair<bool, bool>> told;
  FunctionEvent event([&](bool ok) { told.set_value({ok, returned}); });
  Run([&] {
    loop_->PutOff(&event);
    returned = true;
  });
  EXPECT_EQ(told.get_future().get(), std::pair(true, true));
}

TEST_F(EventLoopTest, WhatIsPutOffGivesWayToTheNext) {
  loop_->Start();
  std::vector<int> told;
  std::promise<void> done;
  FunctionEvent first([&](bool ok) { told.push_back(ok ? 10 : 1); });
  FunctionEvent second([&](bool ok) {
    told.push_back(ok ? 20 : 2);
    done.set_value();
  });
  Run([&] {
    loop_->PutOff(&first);
    loop_->PutOff(&second);
    told.push_back(0);
  });
  done.get_future().wait();
  EXPECT_EQ(told, (std::vector<int>{1, 0, 20}));
}

TEST_F(EventLoopTest, WhatIsPutOffIsToldHoweverBusyTheLoopIs) {
  loop_->Start();
  // Each begins the next, so that one always waits to be told.
  constexpr int kOthers = 1000;
  int others = 0;
  int others_before = 0;
  std::promise<void> done;
  FunctionEvent event([&](bool /*ok*/) { others_before = others; });
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
    loop_->PutOff(&event);
    begin_other();
  });
  done.get_future().wait();
  EXPECT_GT(others_before, 0);
  EXPECT_LE(others_before, EventLoop::kMostBefore + 1);
}

TEST_F(EventLoopTest, OneThatNeverStartedEndsToo) { loop_.reset(); }

}  // namespace
}  // namespace vit
