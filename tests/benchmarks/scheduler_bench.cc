// What the scheduler adds to an image: from Submit to Done with a classifier
// that computes nothing.

#include <benchmark/benchmark.h>

#include <memory>
#include <utility>
#include <vector>

#include "server/batch_scheduler.h"

namespace vit {
namespace {

class IdleClassifier : public Classifier {
 public:
  const ModelInfo& info() const override { return info_; }
  int max_batch_size() const override { return 64; }
  absl::Status Classify(std::span<const Image>, std::span<Prediction>,
                        std::span<Attention* const>) override {
    return absl::OkStatus();
  }

 private:
  ModelInfo info_;
};

// Counts a burst's answers down and wakes whoever waits for the last.
class Burst {
 public:
  void Expect(size_t count) {
    MutexLock lock(&mutex_);
    left_ = count;
  }
  void OnDone() {
    MutexLock lock(&mutex_);
    if (--left_ == 0) changed_.NotifyOne();
  }
  void Wait() {
    MutexLock lock(&mutex_);
    while (left_ > 0) changed_.Wait(&mutex_);
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  size_t left_ ABSL_GUARDED_BY(mutex_) = 0;
};

class CountedTask : public BatchTask {
 public:
  void Done(const absl::Status&, const Prediction*,
            const TaskTiming&) override {
    burst->OnDone();
  }

  Burst* burst = nullptr;
};

// Submits state.range(0) tasks one by one and waits for all of them.
void Scheduler(benchmark::State& state) {
  std::vector<std::unique_ptr<Classifier>> classifiers;
  classifiers.push_back(std::make_unique<IdleClassifier>());
  BatchScheduler scheduler({.policy = {.max_batch_size = 32},
                            .max_queue_size = 1024,
                            .durations = {}},
                           std::move(classifiers), nullptr);
  Burst burst;
  std::vector<CountedTask> tasks(state.range(0));
  for (CountedTask& task : tasks) task.burst = &burst;
  for (auto _ : state) {
    burst.Expect(tasks.size());
    for (CountedTask& task : tasks) {
      if (!scheduler.Submit(&task).ok()) {
        return state.SkipWithError("a task was rejected");
      }
    }
    burst.Wait();
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(Scheduler)->Arg(1)->Arg(32)->Arg(256)->UseRealTime();

}  // namespace
}  // namespace vit
