#ifndef MNIST_VIT_TESTS_SERVER_FAKE_CLASSIFIER_H_
#define MNIST_VIT_TESTS_SERVER_FAKE_CLASSIFIER_H_

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/classifier.h"

namespace vit::testing {

// What a test sets and sees of fake classifiers, all workers together. While
// it is shut, the gate holds every batch at the start of its computation.
class FakeControl {
 public:
  void ShutGate() {
    std::lock_guard lock(mutex_);
    open_ = false;
  }
  void OpenGate() {
    std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
  }
  // Every batch fails with this from now on.
  void FailWith(absl::Status status) {
    std::lock_guard lock(mutex_);
    failure_ = std::move(status);
  }
  // Every batch calls this, which throws, from now on; null: none does.
  void Throw(std::function<void()> thrower) {
    std::lock_guard lock(mutex_);
    thrower_ = std::move(thrower);
  }
  // Waits until this many batches have begun.
  void WaitForBatches(size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return batch_sizes_.size() >= count; });
  }
  // The sizes of the batches that have begun, in their order.
  std::vector<size_t> batch_sizes() {
    std::lock_guard lock(mutex_);
    return batch_sizes_;
  }
  // The first bytes of all images that were computed.
  std::vector<int> computed() {
    std::lock_guard lock(mutex_);
    return computed_;
  }

 private:
  friend class FakeClassifier;

  absl::Status Begin(std::span<const Image> images) {
    std::unique_lock lock(mutex_);
    batch_sizes_.push_back(images.size());
    for (const Image& image : images) computed_.push_back(image.pixels[0]);
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
    if (thrower_) thrower_();
    // Its own, for ThreadSanitizer does not see the owners counted.
    return absl::Status(failure_.code(), failure_.message());
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
  absl::Status failure_;
  std::function<void()> thrower_;
  std::vector<size_t> batch_sizes_;
  std::vector<int> computed_;
};

// Labels an image with its first byte modulo the number of classes.
class FakeClassifier : public Classifier {
 public:
  explicit FakeClassifier(std::shared_ptr<FakeControl> control)
      : control_(std::move(control)) {
    info_.name = "fake";
    info_.version = "7";
    info_.image = {.height = 4, .width = 4, .channels = 1};
    info_.patch_size = 2;
    info_.tokens = 5;
    info_.has_class_token = true;
    info_.layers = 2;
    info_.heads = 3;
    info_.labels = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"};
  }

  const ModelInfo& info() const override { return info_; }
  int max_batch_size() const override { return 32; }

  absl::Status Classify(std::span<const Image> images,
                        std::span<Prediction> predictions,
                        std::span<Attention* const> attention) override {
    if (absl::Status status = control_->Begin(images); !status.ok()) {
      return status;
    }
    for (size_t i = 0; i < images.size(); ++i) {
      Prediction& prediction = predictions[i];
      prediction.label = images[i].pixels[0] % 10;
      prediction.logits.assign(10, 0.0f);
      prediction.probabilities.assign(10, 0.05f);
      prediction.probabilities[prediction.label] = 0.55f;
      if (!attention.empty() && attention[i] != nullptr) {
        FillUniform(attention[i]);
      }
    }
    return absl::OkStatus();
  }

 private:
  void FillUniform(Attention* attention) const {
    attention->layers = info_.layers;
    attention->heads = info_.heads;
    attention->tokens = info_.tokens;
    const size_t size = static_cast<size_t>(info_.layers) * info_.heads *
                        info_.tokens * info_.tokens;
    attention->weights.assign(size, 1.0f / static_cast<float>(info_.tokens));
  }

  std::shared_ptr<FakeControl> control_;
  ModelInfo info_;
};

inline std::vector<std::unique_ptr<Classifier>> FakeClassifiers(
    const std::shared_ptr<FakeControl>& control, int count) {
  std::vector<std::unique_ptr<Classifier>> classifiers;
  for (int i = 0; i < count; ++i) {
    classifiers.push_back(std::make_unique<FakeClassifier>(control));
  }
  return classifiers;
}

// An image of the fake model's shape whose first byte is `value`.
inline std::string FakeImage(int value) {
  return std::string(16, static_cast<char>(value));
}

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_SERVER_FAKE_CLASSIFIER_H_
