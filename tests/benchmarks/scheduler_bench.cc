// What the scheduler adds to an image: from Submit to Done with a classifier
// that computes nothing (Scheduler/TASKS), or with the engine
// (Scheduler/engine/TASKS). Each without metrics and with all that the service
// counts for a call, so that their cost shows as a share of the throughput.

#include <benchmark/benchmark.h>
#include <prometheus/registry.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/engine.h"
#include "server/batching/worker_pool.h"
#include "server/telemetry/metrics.h"
#include "tests/benchmarks/least.h"
#include "tests/model/model_builder.h"

namespace vit {
namespace {

class IdleClassifier : public Classifier {
 public:
  IdleClassifier() { info_.labels = {"0"}; }

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

// Counts, if it has metrics, what the service counts for a call of Classify.
class CountedTask : public BatchTask {
 public:
  void Done(const absl::Status& status, const Prediction* prediction,
            const TaskTiming& timing) override {
    const Clock::time_point now = Clock::now();
    if (metrics != nullptr && prediction != nullptr) {
      model->OnPrediction(prediction->label, now - timing.finished);
      metrics->OnRequest(Method::kClassify, status.code(), now - submitted);
    }
    burst->OnDone();
  }

  Burst* burst = nullptr;
  Metrics* metrics = nullptr;
  ModelMetrics* model = nullptr;
  Clock::time_point submitted;
};

using NewClassifier = std::function<std::unique_ptr<Classifier>()>;

// Submits so many tasks one by one and waits for all of them.
void RunBursts(benchmark::State& state, const NewClassifier& new_classifier,
               size_t count, bool with_metrics) {
  std::vector<std::unique_ptr<Classifier>> classifiers;
  classifiers.push_back(new_classifier());
  if (classifiers.back() == nullptr) {
    return state.SkipWithError("cannot make a classifier");
  }
  prometheus::Registry registry;
  Metrics metrics(&registry, {});
  const std::shared_ptr<ModelMetrics> model =
      metrics.ForModel(classifiers.back()->info());
  const auto bytes = testing::RandomImages(testing::MnistConfig().image,
                                           static_cast<int>(count));
  const std::vector<Image> images = testing::Views(bytes);
  Burst burst;
  std::vector<CountedTask> tasks(count);
  for (size_t i = 0; i < count; ++i) {
    tasks[i].image = images[i];
    tasks[i].burst = &burst;
    tasks[i].metrics = with_metrics ? &metrics : nullptr;
    tasks[i].model = model.get();
  }
  WorkerPool pool(/*workers=*/1, /*max_batch_size=*/32);
  ModelQueueOptions options;
  options.policy.max_batch_size = 32;
  const std::shared_ptr<ModelQueue> queue = ModelQueue::Create(
      &pool, options, std::move(classifiers), with_metrics ? model : nullptr);
  for (auto _ : state) {
    burst.Expect(tasks.size());
    for (CountedTask& task : tasks) {
      task.arrival = task.submitted = Clock::now();
      if (!queue->Submit(&task).ok()) {
        return state.SkipWithError("a task was rejected");
      }
    }
    burst.Wait();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(count));
}

std::unique_ptr<Classifier> NewEngine() {
  const auto model = VitModel::Create(
      testing::RandomModel(testing::MnistConfig()),
      {.precision =
           VitModel::SupportsInt8() ? Precision::kInt8 : Precision::kF32});
  if (!model.ok()) return nullptr;
  auto classifier = (*model)->NewClassifier();
  return classifier.ok() ? *std::move(classifier) : nullptr;
}

void AddCases(const std::string& name, const NewClassifier& new_classifier,
              const std::vector<size_t>& counts) {
  for (const size_t count : counts) {
    for (const bool with_metrics : {false, true}) {
      benchmark::RegisterBenchmark(
          absl::StrCat(name, "/", count, with_metrics ? "/metrics" : "")
              .c_str(),
          [=](benchmark::State& state) {
            RunBursts(state, new_classifier, count, with_metrics);
          })
          ->MeasureProcessCPUTime()
          ->UseRealTime()
          ->ComputeStatistics("min", Least);
    }
  }
}

const bool kAdded = [] {
  AddCases("Scheduler", std::make_unique<IdleClassifier>, {1, 32, 256});
  AddCases("Scheduler/engine", NewEngine, {256});
  return true;
}();

}  // namespace
}  // namespace vit
