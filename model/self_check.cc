#include "model/self_check.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/safetensors.h"

namespace vit {
namespace {

absl::Status CheckShape(const SafeTensors& file, const std::string& name,
                        const std::vector<int64_t>& expected) {
  const auto found = file.tensors().find(name);
  if (found == file.tensors().end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("golden tensor '", name, "' is missing"));
  }
  const std::vector<int64_t>& shape = found->second.shape;
  // The number of images is free.
  if (shape.size() == expected.size() && shape[0] > 0 &&
      std::equal(shape.begin() + 1, shape.end(), expected.begin() + 1)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "golden tensor '", name, "': found shape [", absl::StrJoin(shape, ", "),
      "], expected [N, ",
      absl::StrJoin(expected.begin() + 1, expected.end(), ", "), "]"));
}

// Image `index` of the golden set.
Image GoldenImage(const GoldenSet& golden, size_t index) {
  const size_t bytes = golden.pixels.size() / golden.images;
  return {.pixels = std::span(golden.pixels).subspan(index * bytes, bytes)};
}

absl::Status CheckOne(const Prediction& prediction,
                      std::span<const float> expected, size_t image,
                      float tolerance) {
  for (size_t i = 0; i < expected.size(); ++i) {
    const float difference = std::fabs(prediction.logits[i] - expected[i]);
    // Written so that NaN fails.
    if (difference <= tolerance) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "golden image ", image, ", logit ", i, ": found ", prediction.logits[i],
        ", expected ", expected[i], " within ", tolerance));
  }
  const auto label =
      std::max_element(expected.begin(), expected.end()) - expected.begin();
  if (prediction.label == label) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("golden image ", image, ": found label ", prediction.label,
                   ", expected ", label));
}

}  // namespace

float GoldenTolerance(Precision precision) {
  switch (precision) {
    case Precision::kBf16:
      return kGoldenToleranceBf16;
    case Precision::kInt8:
      return kGoldenToleranceInt8;
    default:
      return kGoldenTolerance;
  }
}

std::string DefaultGoldenPath(const std::string& model_path) {
  constexpr std::string_view kSuffix = ".safetensors";
  std::string stem = model_path;
  if (stem.ends_with(kSuffix)) stem.resize(stem.size() - kSuffix.size());
  return stem + ".golden.safetensors";
}

absl::StatusOr<GoldenSet> LoadGoldenSet(const std::string& path,
                                        const ModelInfo& model) {
  absl::StatusOr<SafeTensors> file = SafeTensors::Load(path);
  if (!file.ok()) return file.status();
  const auto in_file = [&path](const absl::Status& status) {
    return absl::Status(status.code(),
                        absl::StrCat(path, ": ", status.message()));
  };
  const ImageShape& image = model.image;
  absl::Status status = CheckShape(
      *file, "images", {0, image.height, image.width, image.channels});
  if (!status.ok()) return in_file(status);
  const auto classes = static_cast<int64_t>(model.labels.size());
  status = CheckShape(*file, "logits", {0, classes});
  if (!status.ok()) return in_file(status);
  absl::StatusOr<std::vector<uint8_t>> pixels = file->Values<uint8_t>("images");
  if (!pixels.ok()) return in_file(pixels.status());
  absl::StatusOr<std::vector<float>> logits = file->Values<float>("logits");
  if (!logits.ok()) return in_file(logits.status());
  const size_t images = pixels->size() / image.size();
  if (logits->size() != images * classes) {
    return in_file(absl::InvalidArgumentError(
        absl::StrCat("found ", images, " golden images and logits of ",
                     logits->size() / classes, ", expected as many")));
  }
  return GoldenSet{.pixels = *std::move(pixels),
                   .logits = *std::move(logits),
                   .images = static_cast<int>(images)};
}

absl::Status CheckGolden(Classifier& classifier, const GoldenSet& golden,
                         float tolerance) {
  const size_t classes = golden.logits.size() / golden.images;
  const auto most = static_cast<size_t>(classifier.max_batch_size());
  for (size_t first = 0; first < static_cast<size_t>(golden.images);
       first += most) {
    const size_t count = std::min(most, golden.images - first);
    std::vector<Image> images;
    for (size_t i = 0; i < count; ++i) {
      images.push_back(GoldenImage(golden, first + i));
    }
    std::vector<Prediction> predictions(count);
    absl::Status status = classifier.Classify(images, predictions);
    for (size_t i = 0; status.ok() && i < count; ++i) {
      status = CheckOne(
          predictions[i],
          std::span(golden.logits).subspan((first + i) * classes, classes),
          first + i, tolerance);
    }
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status WarmUp(Classifier& classifier, int images) {
  const std::vector<uint8_t> blank(classifier.info().image.size());
  std::vector<Image> batch;
  while (batch.size() < static_cast<size_t>(images)) {
    batch.push_back({.pixels = blank});
    std::vector<Prediction> predictions(batch.size());
    absl::Status status = classifier.Classify(batch, predictions);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace vit
