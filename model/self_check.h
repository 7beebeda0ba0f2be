#ifndef MNIST_VIT_MODEL_SELF_CHECK_H_
#define MNIST_VIT_MODEL_SELF_CHECK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/classifier.h"
#include "model/engine.h"

namespace vit {

// Images with the logits that the training framework found for them, stored
// beside the weights: what a loaded model must reproduce before it serves.
struct GoldenSet {
  std::vector<uint8_t> pixels;  // [images][image bytes]
  std::vector<float> logits;    // [images][classes]
  int images = 0;
};

// How far a logit may be from the golden one. In single precision: the rounding
// of some ten thousand additions, seen to be below 1e-5. In bf16 and int8: what
// rounding weights and activations does to the trained model, seen to be below
// 0.01 and 0.1, where a label's logit stands several units above the others.
inline constexpr float kGoldenTolerance = 1e-4f;
inline constexpr float kGoldenToleranceBf16 = 0.02f;
inline constexpr float kGoldenToleranceInt8 = 0.2f;
float GoldenTolerance(Precision precision);

// NAME.golden.safetensors for NAME.safetensors.
std::string DefaultGoldenPath(const std::string& model_path);

// Reads a safetensors file with `images` U8 [N, height, width, channels] and
// `logits` F32 [N, classes]; other tensors are left alone. InvalidArgument,
// saying what was found and what is expected, if they do not fit the model.
absl::StatusOr<GoldenSet> LoadGoldenSet(const std::string& path,
                                        const ModelInfo& model);

// Classifies the golden images. FailedPrecondition, naming the image and the
// logit, if one differs by more than `tolerance` or the label is another.
absl::Status CheckGolden(Classifier& classifier, const GoldenSet& golden,
                         float tolerance = kGoldenTolerance);

// Computes batches of 1, 2 and so on up to `images` once, so that no request is
// the first to touch code or memory.
absl::Status WarmUp(Classifier& classifier, int images);

}  // namespace vit

#endif  // MNIST_VIT_MODEL_SELF_CHECK_H_
