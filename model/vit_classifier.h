#ifndef MNIST_VIT_MODEL_VIT_CLASSIFIER_H_
#define MNIST_VIT_MODEL_VIT_CLASSIFIER_H_

#include <memory>
#include <vector>

#include "model/classifier.h"
#include "model/engine.h"
#include "model/packed_weights.h"
#include "model/vit_config.h"

namespace vit {

// What the classifiers of a model share. Immutable once it is made.
struct VitModelParts {
  VitConfig config;
  ModelInfo info;
  Precision precision = Precision::kF32;
  int max_batch_size = 0;
  std::vector<std::unique_ptr<VitOps>> ops;  // of i + 1 images
  std::unique_ptr<PackedWeights> weights;
  size_t scratchpad_bytes = 0;
};

// VitModel::NewClassifier's. Throws as oneDNN does.
std::unique_ptr<Classifier> MakeVitClassifier(
    std::shared_ptr<const VitModelParts> parts);

}  // namespace vit

#endif  // MNIST_VIT_MODEL_VIT_CLASSIFIER_H_
