#ifndef MNIST_VIT_SERVER_MODELS_SERVED_MODEL_LOADER_H_
#define MNIST_VIT_SERVER_MODELS_SERVED_MODEL_LOADER_H_

#include <optional>

#include "absl/status/statusor.h"
#include "model/engine.h"
#include "server/models/served_model.h"

namespace vit {

struct ServedModelOptions {
  int workers = 1;          // classifiers to make, from 1
  int max_batch_size = 32;  // images
  // None: the fastest that is exact enough.
  std::optional<Precision> precision = std::nullopt;
  bool check_golden = true;  // against the golden answers, which must be there
};

// A loader that reads the weights, makes the classifiers, warms them up and
// checks the golden answers: LoadModel. Labels on disk replace those of the
// weights file in ServedModel::info.
ModelLoader MakeServedModelLoader(const ServedModelOptions& options);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_MODELS_SERVED_MODEL_LOADER_H_
