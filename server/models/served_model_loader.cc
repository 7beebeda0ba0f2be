#include "server/models/served_model_loader.h"

#include <utility>

#include "absl/status/status.h"
#include "model/model_loader.h"
#include "server/models/labels_file.h"

namespace vit {
namespace {

absl::StatusOr<std::shared_ptr<ServedModel>> LoadServedModel(
    const ModelOnDisk& disk, const ServedModelOptions& options) {
  absl::StatusOr<LoadedModel> loaded =
      LoadModel({.model = disk.weights,
                 .golden = options.check_golden ? disk.golden : "none",
                 .max_batch_size = options.max_batch_size,
                 .precision = options.precision},
                options.workers);
  if (!loaded.ok()) return loaded.status();
  auto served = std::make_shared<ServedModel>();
  served->info = loaded->model->info();
  if (!disk.labels.empty()) {
    absl::StatusOr<std::vector<std::string>> labels =
        ReadLabels(disk.labels, served->info.labels.size());
    if (!labels.ok()) return labels.status();
    served->info.labels = *std::move(labels);
  }
  served->precision = PrecisionName(loaded->precision);
  served->classifiers = std::move(loaded->classifiers);
  served->notes = std::move(loaded->notes);
  return served;
}

}  // namespace

ModelLoader MakeServedModelLoader(const ServedModelOptions& options) {
  return [options](const ModelOnDisk& disk) {
    return LoadServedModel(disk, options);
  };
}

}  // namespace vit
