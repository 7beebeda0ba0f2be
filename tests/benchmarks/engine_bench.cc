// What one image costs in the engine, on the calling thread alone. Cases are
// named Engine/PRECISION/TOKENS/BATCH; items are images, so that the time of a
// batch over its size, or items_per_second, compares across batch sizes. Those
// named OneDnn/... are computed by oneDNN's matmuls where Engine/... is by our
// own kernels.

#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/engine.h"
#include "tests/model/model_builder.h"

namespace vit {
namespace {

constexpr int kMaxBatch = 32;

// The shape of the trained model, with 50 tokens where patches are of 4.
VitConfig MnistPatches(int patch_size) {
  VitConfig config = testing::MnistConfig();
  config.patch_size = patch_size;
  return config;
}

// ViT-Ti/16 on ImageNet's images (Touvron et al. 2021, arXiv 2012.12877).
VitConfig TinyPatch16() {
  VitConfig config;
  config.image = {.height = 224, .width = 224, .channels = 3};
  config.patch_size = 16;
  config.width = 192;
  config.depth = 12;
  config.heads = 3;
  config.mlp_width = 768;
  config.classes = 1000;
  return config;
}

// One model for all cases of its shape, made when the first of them runs.
std::shared_ptr<const VitModel> SharedModel(const VitConfig& config,
                                            const EngineOptions& options) {
  static std::shared_ptr<const VitModel> model;
  static VitConfig made_for;
  static EngineOptions made_with;
  if (model == nullptr || made_for != config ||
      made_with.precision != options.precision ||
      made_with.only_onednn != options.only_onednn) {
    model.reset();
    auto made = VitModel::Create(testing::RandomModel(config), options);
    if (made.ok()) model = *made;
    made_for = config;
    made_with = options;
  }
  return model;
}

void ClassifyBatches(benchmark::State& state, const VitConfig& config,
                     const EngineOptions& options, int batch) {
  const auto model = SharedModel(config, options);
  if (model == nullptr) return state.SkipWithError("cannot make the model");
  const auto classifier = model->NewClassifier();
  if (!classifier.ok()) return state.SkipWithError("cannot make a classifier");
  const auto bytes = testing::RandomImages(config.image, batch);
  const std::vector<Image> images = testing::Views(bytes);
  std::vector<Prediction> predictions(batch);
  for (auto _ : state) {
    const absl::Status status = (*classifier)->Classify(images, predictions);
    if (!status.ok()) {
      return state.SkipWithError(std::string(status.message()).c_str());
    }
    benchmark::DoNotOptimize(predictions.data());
  }
  state.SetItemsProcessed(state.iterations() * batch);
}

void AddCases(const VitConfig& config, int max_batch_size,
              const std::vector<int>& batches, bool only_onednn = false) {
  for (const Precision precision :
       {Precision::kF32, Precision::kBf16, Precision::kInt8}) {
    if (precision == Precision::kBf16 && !VitModel::SupportsBf16()) continue;
    if (precision == Precision::kInt8 && !VitModel::SupportsInt8()) continue;
    for (const int batch : batches) {
      benchmark::RegisterBenchmark(
          absl::StrCat(only_onednn ? "OneDnn/" : "Engine/",
                       PrecisionName(precision), "/", config.tokens(), "/",
                       batch)
              .c_str(),
          [=](benchmark::State& state) {
            ClassifyBatches(state, config,
                            {.max_batch_size = max_batch_size,
                             .precision = precision,
                             .only_onednn = only_onednn},
                            batch);
          })
          ->Unit(benchmark::kMicrosecond);
    }
  }
}

const bool kAdded = [] {
  benchmark::AddCustomContext("kernels", VitModel::Platform());
  AddCases(MnistPatches(7), kMaxBatch, {1, 8, 32});
  AddCases(MnistPatches(4), kMaxBatch, {1, 8, 32});
  AddCases(TinyPatch16(), /*max_batch_size=*/2, {1});
  for (const int patch_size : {7, 4}) {
    AddCases(MnistPatches(patch_size), kMaxBatch, {1, 32},
             /*only_onednn=*/true);
  }
  AddCases(TinyPatch16(), /*max_batch_size=*/2, {1}, /*only_onednn=*/true);
  return true;
}();

}  // namespace
}  // namespace vit
