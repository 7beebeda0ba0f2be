#ifndef MNIST_VIT_MODEL_MODEL_LOADER_H_
#define MNIST_VIT_MODEL_MODEL_LOADER_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/engine.h"

namespace vit {

struct ModelLoaderOptions {
  std::string model = "";  // weights file
  // Golden images; empty: those beside the weights file; "none": no check.
  std::string golden = "";
  int max_batch_size = 32;  // images
  // None: the fastest that is exact enough.
  std::optional<Precision> precision = std::nullopt;
};

// A model that is ready to serve.
struct LoadedModel {
  std::shared_ptr<const VitModel> model;
  // One for each worker, warm: every number of images that is computed at once
  // has been.
  std::vector<std::unique_ptr<Classifier>> classifiers;
  Precision precision = Precision::kF32;
  // What was chosen and why, for the log, a line each.
  std::vector<std::string> notes;
};

// "auto" (none), "f32", "bf16" or "int8"; InvalidArgument for anything else.
absl::StatusOr<std::optional<Precision>> ParsePrecision(
    const std::string& text);

// Reads a weights file, makes a classifier, warms it up, and has it answer the
// golden images: a model that does not answer them as in training, within
// GoldenTolerance, is not returned. Then the other classifiers, one for each of
// `workers` (at least 1), are made and warmed up side by side, on as many
// threads.
//
// Without a precision given it takes the first of int8, bf16 and f32 that the
// file and the CPU allow and whose answers to the golden images are near
// enough.
//
// Errors are those of LoadVitWeights, VitModel::Create and CheckGolden.
absl::StatusOr<LoadedModel> LoadModel(const ModelLoaderOptions& options,
                                      int workers);

}  // namespace vit

#endif  // MNIST_VIT_MODEL_MODEL_LOADER_H_
