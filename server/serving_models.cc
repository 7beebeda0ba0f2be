#include "server/serving_models.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "model/model_loader.h"
#include "model/self_check.h"
#include "server/models/served_model_loader.h"
#include "server/telemetry/log.h"

namespace vit {
namespace {

ModelQueueOptions QueueOptions(const ServerOptions& options,
                               const ModelInfo& info) {
  ModelQueueOptions queue;
  queue.policy.max_batch_size = options.max_batch_size;
  queue.policy.max_queue_delay =
      std::chrono::microseconds(options.max_queue_delay_us);
  queue.max_queue_size = options.max_queue_size;
  queue.info = info;
  return queue;
}

// Part of what a reload compares, so never left to the loader's default.
std::string GoldenPath(const ServerOptions& options) {
  if (options.golden == "none") return "";
  return options.golden.empty() ? DefaultGoldenPath(options.model)
                                : options.golden;
}

void LogModel(const ServedModel& served, const std::string& path) {
  const ModelInfo& info = served.info;
  Log(absl::StrFormat(
      "model %s version %s from %s: %d x %d x %d images, patches of %d, "
      "%d tokens, %d layers, %d heads, %d classes",
      info.name, info.version, path, info.image.height, info.image.width,
      info.image.channels, info.patch_size, info.tokens, info.layers,
      info.heads, info.labels.size()));
  for (const std::string& note : served.notes) Log(note);
}

// Loads as `load` does, then gives the model its queue.
ModelLoader WithQueue(ModelLoader load, const ServerOptions& options,
                      WorkerPool* pool, Metrics* metrics) {
  return
      [load = std::move(load), options, pool, metrics](const ModelOnDisk& disk)
          -> absl::StatusOr<std::shared_ptr<ServedModel>> {
        absl::StatusOr<std::shared_ptr<ServedModel>> served = load(disk);
        if (!served.ok()) return served.status();
        ModelInfo info = (*served)->info;
        if (!disk.name.empty()) info.name = disk.name;
        if (disk.version > 0) info.version = absl::StrCat(disk.version);
        (*served)->queue = ModelQueue::Create(pool, QueueOptions(options, info),
                                              std::move((*served)->classifiers),
                                              metrics->ForModel(info));
        (*served)->info = std::move(info);
        LogModel(**served, disk.weights);
        return served;
      };
}

}  // namespace

absl::StatusOr<std::unique_ptr<ModelRepository>> LoadServingModels(
    const ServerOptions& options, WorkerPool* pool, Metrics* metrics) {
  const auto precision = ParsePrecision(options.precision);
  if (!precision.ok()) return precision.status();
  ModelLoader load =
      MakeServedModelLoader({.workers = static_cast<int>(pool->workers()),
                             .max_batch_size = options.max_batch_size,
                             .precision = *precision,
                             .check_golden = options.golden != "none"});
  auto repository = ModelRepository::Create(
      {.path = options.model_repository,
       .model_file = options.model,
       .golden = GoldenPath(options),
       .versions = options.versions,
       .canary_percent = options.canary_percent},
      WithQueue(std::move(load), options, pool, metrics));
  if (!repository.ok()) return repository.status();
  const absl::StatusOr<ReloadReport> report = (*repository)->Reload();
  if (!report.ok()) return report.status();
  for (const std::string& line : report->skipped) Log(line);
  if (!report->refused.empty()) {
    const ReloadReport::Item& first = report->refused.front();
    return absl::FailedPreconditionError(first.reason);
  }
  return repository;
}

PickModel PickFrom(const ModelRepository* repository) {
  const auto calls = std::make_shared<std::atomic<uint32_t>>(0);
  return [repository, calls](const std::string& model,
                             const std::string& version)
             -> absl::StatusOr<std::shared_ptr<ModelQueue>> {
    const bool is_label = version == kStableLabel || version == kCanaryLabel;
    ModelRequest request{.name = model};
    (is_label ? request.label : request.version) = version;
    const uint32_t call = calls->fetch_add(1, std::memory_order_relaxed);
    const auto served = repository->Pick(request, static_cast<int>(call % 100));
    if (!served.ok()) return served.status();
    // Whoever holds the queue holds the model.
    return std::shared_ptr<ModelQueue>(*served, (*served)->queue.get());
  };
}

MemoryBudget BudgetFor(const ServerOptions& options,
                       const ModelSnapshot& models) {
  MemoryBudgetInput input{.granted = GrantedMemory(),
                          .wanted = int64_t{options.memory_budget_mb} << 20,
                          .descriptors = RaiseDescriptorLimit(),
                          .max_images_per_call = options.max_images_per_call,
                          .max_queue_size = options.max_queue_size,
                          .max_explanations = options.max_explanations,
                          .max_connections = options.max_connections};
  for (const auto& [name, versions] : models.models()) {
    for (const std::shared_ptr<const ServedModel>& served : versions.all) {
      const ModelInfo& info = served->info;
      const int64_t matrices = int64_t{info.layers} * info.heads + 1;
      input.image_bytes =
          std::max<int64_t>(input.image_bytes, info.image.size());
      input.explanation_bytes = std::max<int64_t>(
          input.explanation_bytes, matrices * info.tokens * info.tokens *
                                       static_cast<int64_t>(sizeof(float)));
    }
  }
  return MakeMemoryBudget(input);
}

}  // namespace vit
