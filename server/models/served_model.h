#ifndef MNIST_VIT_SERVER_MODELS_SERVED_MODEL_H_
#define MNIST_VIT_SERVER_MODELS_SERVED_MODEL_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/classifier.h"
#include "server/base/clock.h"
#include "server/batching/model_queue.h"
#include "server/models/repository_scan.h"

namespace vit {

// One version of a model that is ready to serve: loaded, warm and checked.
// Immutable once it serves. A call holds the one that it was admitted to by a
// shared_ptr until it ends, so a version that is retired meanwhile goes with
// its last call, on that call's thread.
struct ServedModel {
  // As it is served: the name, version and labels are those of the repository
  // where it has some, and then others than the classifiers' own.
  ModelInfo info;
  std::string precision;  // "f32", "bf16" or "int8"
  std::vector<std::unique_ptr<Classifier>> classifiers;  // one for each worker
  // Where calls wait for it. Whoever serves it makes the queue, which then owns
  // the classifiers.
  std::shared_ptr<ModelQueue> queue;
  std::vector<std::string> notes;  // what was chosen and why, a line each
  std::chrono::system_clock::time_point loaded_at;
  Clock::duration load_duration = Clock::duration::zero();

  const std::string& name() const { return info.name; }
  const std::string& version() const { return info.version; }
};

// Makes a ServedModel of what lies on disk. An error says why it must not
// serve. Called on the thread that reloads, one call at a time.
using ModelLoader = std::function<absl::StatusOr<std::shared_ptr<ServedModel>>(
    const ModelOnDisk&)>;

}  // namespace vit

#endif  // MNIST_VIT_SERVER_MODELS_SERVED_MODEL_H_
