#include "server/watchdog.h"

#include <gmock/gmock.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/batching/model_queue.h"
#include "tests/server/fake_classifier.h"
#include "tests/server/rpc/fake_observer.h"

namespace vit {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

class AnsweredTask final : public BatchTask {
 public:
  void Done(const absl::Status& /*status*/, const Prediction* /*prediction*/,
            const TaskTiming& /*timing*/) override {
    done_.store(true);
  }
  bool done() const { return done_.load(); }

 private:
  std::atomic<bool> done_{false};
};

class WatchdogTest : public ::testing::Test {
 protected:
  WatchdogTest() {
    state_.AddListener([this] {
      std::lock_guard lock(mutex_);
      changed_.notify_all();
    });
    state_.Advance(ServingState::Phase::kServing);
    task_.image.pixels = pixels_;
    task_.arrival = Clock::now();
  }
  ~WatchdogTest() override {
    watchdog_.reset();
    control_->OpenGate();
    pool_.Drain();
  }

  static constexpr int64_t kPlenty = int64_t{1} << 40;

  void Watch(Clock::duration limit, int64_t budget_bytes = kPlenty) {
    watchdog_ = std::make_unique<Watchdog>(
        limit, std::vector<EventLoop*>{&loop_}, &pool_,
        std::vector<Admission*>{&admission_}, &state_, &metrics_, &own_memory_,
        budget_bytes, [this](const std::string& what) {
          std::lock_guard lock(mutex_);
          hung_.push_back(what);
          changed_.notify_all();
        });
  }

  void HangWorker() {
    control_->ShutGate();
    ASSERT_TRUE(queue_->Submit(&task_).ok());
    control_->WaitForBatches(1);
  }

  void WaitUntilReady(bool ready) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return state_.ready() == ready; });
  }
  std::string WaitForHung() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !hung_.empty(); });
    return hung_.back();
  }
  size_t hung() {
    std::lock_guard lock(mutex_);
    return hung_.size();
  }

  std::shared_ptr<testing::FakeControl> control_ =
      std::make_shared<testing::FakeControl>();
  std::array<uint8_t, 16> pixels_{};
  AnsweredTask task_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> hung_;
  ServingState state_;
  testing::FakeObserver observer_;
  Admission admission_{&state_, {}, &observer_};
  prometheus::Registry registry_;
  Metrics metrics_{&registry_, {{"version", "test"}}};
  WorkerPool pool_{1, 8};
  std::shared_ptr<ModelQueue> queue_ = ModelQueue::Create(
      &pool_,
      {.policy = {.max_batch_size = 8}, .durations = {}, .info = std::nullopt},
      testing::FakeClassifiers(control_, 1), nullptr);
  grpc::ServerBuilder builder_;
  EventLoop loop_{builder_.AddCompletionQueue()};
  OwnMemory own_memory_;
  std::unique_ptr<Watchdog> watchdog_;
};

TEST_F(WatchdogTest, AHungWorkerMakesTheServerNotReadyUntilItRecovers) {
  loop_.Start();
  Watch(milliseconds(600));
  HangWorker();
  WaitUntilReady(false);
  EXPECT_THAT(WaitForHung(), HasSubstr("a worker has not finished its batch"));
  EXPECT_FALSE(state_.ready());
  control_->OpenGate();
  WaitUntilReady(true);
  EXPECT_TRUE(task_.done());
}

TEST_F(WatchdogTest, ALoopThatDoesNotAnswerMakesTheServerNotReadyUntilItDoes) {
  Watch(milliseconds(600));  // the loop has not started
  WaitUntilReady(false);
  EXPECT_THAT(WaitForHung(), HasSubstr("an event loop has not answered"));
  loop_.Start();
  WaitUntilReady(true);
}

// Is looked at by the watchdog, on its thread.
class LateCall final : public AdmittedCall {
 public:
  void Arm(Admission* admission,
           Clock::time_point since = Clock::now() - std::chrono::hours(1)) {
    ASSERT_TRUE(admission->Enter(this, /*is_stream=*/false, since).ok());
  }
  void HoldUntil(Clock::time_point time) { hold_until_ = time; }
  bool is_cut_off() const { return cut_off_.load(); }
  void WaitForCutOff() {
    while (!cut_off_.load()) std::this_thread::yield();
  }

 private:
  void CutOff() override {
    cut_off_.store(true);
    while (Clock::now() < hold_until_) std::this_thread::yield();
  }
  void StartDraining() override {}

  Clock::time_point hold_until_;
  std::atomic<bool> cut_off_{false};
};

TEST_F(WatchdogTest, WithoutALimitNothingCountsAsHungButLateCallsAreCutOff) {
  HangWorker();
  Watch(Clock::duration::zero());
  for (int look = 0; look < 3; ++look) {
    LateCall late;
    late.Arm(&admission_);
    late.WaitForCutOff();
    admission_.Leave(&late);
  }
  EXPECT_TRUE(state_.ready());
  EXPECT_EQ(hung(), 0);
}

TEST_F(WatchdogTest, UnderPressureWhatALoopHasNotReadDoesNotCountAsHalfSent) {
  Watch(Clock::duration::zero(), /*budget_bytes=*/1);
  while (loop_.Silence() == Clock::duration::zero()) std::this_thread::yield();
  LateCall call;
  call.Arm(&admission_, Clock::now());
  // The loop has not started, so it falls behind.
  while (loop_.Silence() < 5 * Admission::kShortPatience) {
    std::this_thread::yield();
  }
  EXPECT_FALSE(call.is_cut_off());
  loop_.Start();
  call.WaitForCutOff();
  EXPECT_EQ(observer_.refused(RpcObserver::Rule::kMemoryPressure), 1);
  admission_.Leave(&call);
}

// As long as it stood still, nobody could do anything.
TEST_F(WatchdogTest, TheTimeThatTheProcessWasStoppedDoesNotCount) {
  constexpr milliseconds kLimit{2000};
  loop_.Start();
  HangWorker();
  LateCall stop;
  stop.HoldUntil(Clock::now() + kLimit + milliseconds(200));
  stop.Arm(&admission_);
  Watch(kLimit);
  stop.WaitForCutOff();
  // Then it looks again, for the first and the second time.
  for (int look = 0; look < 3; ++look) {
    LateCall next;
    next.Arm(&admission_);
    next.WaitForCutOff();
    admission_.Leave(&next);
  }
  control_->OpenGate();
  EXPECT_EQ(hung(), 0);
  admission_.Leave(&stop);
}

}  // namespace
}  // namespace vit
