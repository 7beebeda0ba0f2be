#include "server/services/request.h"

#include <span>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/rollout.h"

namespace vit {

namespace {

absl::Status WrongSize(const std::string& field, size_t size,
                       const ImageShape& shape) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": expected ", shape.size(), " bytes (", shape.height,
                   " x ", shape.width, " x ", shape.channels, "), got ", size));
}

bool HasSize(const std::string& bytes, const ImageShape& shape) {
  return bytes.size() == static_cast<size_t>(shape.size());
}

Image View(const std::string& bytes) {
  const auto* pixels = reinterpret_cast<const uint8_t*>(bytes.data());
  return Image{.pixels = std::span(pixels, bytes.size())};
}

}  // namespace

absl::StatusOr<Image> ToImage(const std::string& bytes,
                              const ImageShape& shape) {
  if (!HasSize(bytes, shape)) return WrongSize("image", bytes.size(), shape);
  return View(bytes);
}

absl::StatusOr<Image> ToImage(const std::string& bytes, const ImageShape& shape,
                              int index) {
  if (HasSize(bytes, shape)) return View(bytes);
  return WrongSize(absl::StrCat("images[", index, "]"), bytes.size(), shape);
}

void FillResponse(const Prediction& prediction, const TaskTiming& timing,
                  Clock::duration total, v1::ClassifyResponse* response) {
  response->set_label(prediction.label);
  response->set_confidence(prediction.confidence());
  response->mutable_probabilities()->Assign(prediction.probabilities.begin(),
                                            prediction.probabilities.end());
  v1::Timing* out = response->mutable_timing();
  out->set_queue_seconds(Seconds(timing.queue));
  out->set_inference_seconds(Seconds(timing.inference));
  out->set_total_seconds(Seconds(total));
  out->set_batch_size(timing.batch_size);
}

void FillExplanation(const ModelInfo& model, const Attention& attention,
                     v1::ExplainResponse* response) {
  response->set_tokens(model.tokens);
  response->set_has_class_token(model.has_class_token);
  response->set_grid_height(model.image.height / model.patch_size);
  response->set_grid_width(model.image.width / model.patch_size);
  response->set_patch_size(model.patch_size);
  for (int layer = 0; layer < attention.layers; ++layer) {
    v1::LayerAttention* heads = response->add_layers();
    for (int head = 0; head < attention.heads; ++head) {
      const std::span<const float> weights = attention.matrix(layer, head);
      heads->add_heads()->mutable_weights()->Add(weights.begin(),
                                                 weights.end());
    }
  }
  const std::vector<float> rollout = AttentionRollout(attention);
  response->mutable_rollout()->mutable_weights()->Add(rollout.begin(),
                                                      rollout.end());
}

}  // namespace vit
