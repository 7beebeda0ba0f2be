#ifndef MNIST_VIT_TESTS_SERVER_MODELS_FAKE_LOADER_H_
#define MNIST_VIT_TESTS_SERVER_MODELS_FAKE_LOADER_H_

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "server/models/served_model.h"
#include "tests/integration/temporary_folder.h"

namespace vit::testing {

// What the fake loaders of one test share. A "weights file" holds one word and
// what else a test likes: "good", "bad" (refused), "throws", or, for a single
// file, "named NAME". The model's digest is the whole text.
struct FakeLoads {
  std::atomic<int> count = 0;
  std::atomic<int> running = 0;
  std::atomic<int> most_running = 0;
  std::function<void(const ModelOnDisk&)> during = [](const ModelOnDisk&) {};
};

inline absl::StatusOr<std::shared_ptr<ServedModel>> FakeLoad(
    FakeLoads& loads, const ModelOnDisk& disk) {
  ++loads.count;
  loads.most_running = std::max<int>(++loads.running, loads.most_running);
  loads.during(disk);
  --loads.running;
  const std::string text = ReadFile(disk.weights);
  if (text.starts_with("throws")) throw std::runtime_error("no memory");
  if (text.starts_with("nothing")) return std::shared_ptr<ServedModel>();
  auto model = std::make_shared<ServedModel>();
  model->info.digest = text;
  if (text.starts_with("named ")) {
    model->info.name = text.substr(6);
    model->info.version = "1.0";
    return model;
  }
  if (text.starts_with("good")) return model;
  return absl::FailedPreconditionError(disk.weights + ": holds " + text);
}

inline ModelLoader FakeLoader(const std::shared_ptr<FakeLoads>& loads) {
  return [loads](const ModelOnDisk& disk) { return FakeLoad(*loads, disk); };
}

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_SERVER_MODELS_FAKE_LOADER_H_
