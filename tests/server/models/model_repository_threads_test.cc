// The repository under several threads; for ThreadSanitizer too.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <latch>
#include <thread>

#include "server/models/model_repository.h"
#include "tests/server/models/fake_loader.h"
#include "tests/server/models/repository_folder.h"

namespace vit {
namespace {

class ModelRepositoryThreadsTest : public ::testing::Test {
 protected:
  ModelRepositoryThreadsTest() {
    auto repository = ModelRepository::Create(
        {.path = folder_.path(), .versions = 2, .canary_percent = 50},
        testing::FakeLoader(loads_));
    EXPECT_TRUE(repository.ok()) << repository.status();
    repository_ = *std::move(repository);
  }

  const testing::RepositoryFolder folder_;
  const std::shared_ptr<testing::FakeLoads> loads_ =
      std::make_shared<testing::FakeLoads>();
  std::unique_ptr<ModelRepository> repository_;
};

TEST_F(ModelRepositoryThreadsTest, CallsDoNotWaitForAReload) {
  folder_.Put("digits/1", "good");
  ASSERT_TRUE(repository_->Reload().ok());
  std::latch loading(1);
  std::latch picked(1);
  loads_->during = [&](const ModelOnDisk&) {
    loading.count_down();
    picked.wait();
  };
  folder_.Put("digits/2", "good");
  std::jthread reload([this] { EXPECT_TRUE(repository_->Reload().ok()); });
  loading.wait();
  // Would never end if it waited for the reload, which waits for `picked`.
  EXPECT_EQ((*repository_->Pick({}, 0))->version(), "1");
  EXPECT_EQ(repository_->Models().size(), 2);
  picked.count_down();
  reload.join();
  EXPECT_EQ((*repository_->Pick({}, 0))->version(), "2");
}

TEST_F(ModelRepositoryThreadsTest, EveryCallGetsAModelWhileModelsAreReloaded) {
  folder_.Put("digits/1", "good");
  ASSERT_TRUE(repository_->Reload().ok());
  std::atomic<bool> done = false;
  std::atomic<int> picks = 0;
  const auto call = [&] {
    int64_t newest = 0;
    for (int draw = 0; !done || draw < 100; ++draw) {
      const auto model = repository_->Pick({.name = "digits"}, draw % 100);
      ASSERT_TRUE(model.ok()) << model.status();
      // Two versions serve at once, and none comes back.
      const int64_t version = std::stoll((*model)->version());
      EXPECT_GE(version, newest - 1);
      newest = std::max(newest, version);
      repository_->Models();
      ++picks;
    }
  };
  {
    std::vector<std::jthread> calls;
    for (int i = 0; i < 3; ++i) calls.emplace_back(call);
    for (int i = 2; i <= 100; ++i) {
      const std::string version = "digits/" + std::to_string(i);
      folder_.Put(version, i % 5 == 0 ? "bad" : "good");
      EXPECT_TRUE(repository_->Reload().ok());
      folder_.Remove(version + "/model.safetensors");
      folder_.Put(version, "good");
      EXPECT_TRUE(repository_->Reload().ok());
    }
    done = true;
  }
  EXPECT_GE(picks, 300);
  EXPECT_EQ((*repository_->Pick({}, 0))->version(), "100");
}

TEST_F(ModelRepositoryThreadsTest, ReloadsRunOneByOneAndEachSeesItsOwnChange) {
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([this, i] {
        const std::string name = "model-" + std::to_string(i);
        folder_.Put(name + "/1", "good");
        EXPECT_TRUE(repository_->Reload().ok());
        EXPECT_TRUE(repository_->Pick({.name = name}, 0).ok());
      });
    }
  }
  EXPECT_EQ(loads_->count, 4);
  EXPECT_EQ(loads_->most_running, 1);
}

}  // namespace
}  // namespace vit
