#include "server/rpc/connection_hand_over.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "server/base/mutex.h"

namespace vit {
namespace {

// Stands for gRPC: keeps the thread that brings it a connection until Release.
class Keeper {
 public:
  void Keep() {
    MutexLock lock(&mutex_);
    ++kept_;
    changed_.NotifyAll();
    while (!released_) changed_.Wait(&mutex_);
  }
  void WaitForKept(int count) {
    MutexLock lock(&mutex_);
    while (kept_ < count) changed_.Wait(&mutex_);
  }
  void Release() {
    MutexLock lock(&mutex_);
    released_ = true;
    changed_.NotifyAll();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  int kept_ ABSL_GUARDED_BY(mutex_) = 0;
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
};

class KeepingAcceptor : public grpc::experimental::ExternalConnectionAcceptor {
 public:
  explicit KeepingAcceptor(Keeper* keeper) : keeper_(keeper) {}

  void HandleNewConnection(NewConnectionParameters* parameters) override {
    const FileDescriptor connection(parameters->fd);
    keeper_->Keep();
  }

 private:
  Keeper* const keeper_;
};

// While it lives, the system grants this process no thread: the stack that
// each would get is larger than any address space.
class NoMoreThreads {
 public:
  NoMoreThreads() {
    pthread_getattr_default_np(&before_);
    pthread_attr_t huge;
    pthread_attr_init(&huge);
    pthread_attr_setstacksize(&huge, size_t{1} << 50);
    pthread_setattr_default_np(&huge);
    pthread_attr_destroy(&huge);
  }
  ~NoMoreThreads() {
    pthread_setattr_default_np(&before_);
    pthread_attr_destroy(&before_);
  }
  NoMoreThreads(const NoMoreThreads&) = delete;
  NoMoreThreads& operator=(const NoMoreThreads&) = delete;

 private:
  pthread_attr_t before_;
};

class ConnectionHandOverTest : public ::testing::Test {
 protected:
  ~ConnectionHandOverTest() override { keeper_.Release(); }

  void Add(uint64_t id) {
    hand_over_.Add(id, FileDescriptor(eventfd(0, EFD_CLOEXEC)), /*listener=*/0);
  }
  std::optional<uint64_t> LookAfter(Clock::duration wait) {
    return hand_over_.Look(Clock::now() + wait);
  }

  Keeper keeper_;
  ConnectionHandOver hand_over_{std::make_unique<KeepingAcceptor>(&keeper_)};
};

TEST_F(ConnectionHandOverTest, AKeptThreadHoldsUpNoOtherConnection) {
  Add(1);
  keeper_.WaitForKept(1);
  Add(2);
  EXPECT_TRUE(hand_over_.busy());
  EXPECT_GE(hand_over_.Longest(Clock::now() + std::chrono::seconds(3)),
            std::chrono::seconds(3));
  EXPECT_EQ(LookAfter(ConnectionHandOver::kPatience), std::nullopt);
  keeper_.WaitForKept(2);
  EXPECT_FALSE(hand_over_.busy());
}

TEST_F(ConnectionHandOverTest, TheLongestKeptEndsWhenAllThreadsAreKept) {
  for (uint64_t id = 1; id <= ConnectionHandOver::kMostThreads; ++id) {
    Add(id);
    LookAfter(ConnectionHandOver::kPatience);
    keeper_.WaitForKept(static_cast<int>(id));
  }
  Add(99);
  EXPECT_EQ(LookAfter(ConnectionHandOver::kLongest / 2), std::nullopt);
  EXPECT_EQ(LookAfter(ConnectionHandOver::kLongest), uint64_t{1});
  EXPECT_EQ(LookAfter(ConnectionHandOver::kLongest), uint64_t{2});
}

TEST_F(ConnectionHandOverTest, TheLongestKeptEndsWhenNoThreadIsGranted) {
  Add(1);
  keeper_.WaitForKept(1);
  Add(2);
  const NoMoreThreads none;
  EXPECT_EQ(LookAfter(ConnectionHandOver::kPatience), std::nullopt);
  EXPECT_EQ(LookAfter(ConnectionHandOver::kLongest), uint64_t{1});
}

}  // namespace
}  // namespace vit
