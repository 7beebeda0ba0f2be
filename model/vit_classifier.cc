#include "model/vit_classifier.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/activations.h"
#include "model/kernels.h"
#include "model/onednn_ops.h"
#include "model/vit_plan.h"

namespace vit {
namespace {

void Softmax(std::span<const float> logits, std::span<float> probabilities) {
  const float largest = *std::max_element(logits.begin(), logits.end());
  float sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    probabilities[i] = std::exp(logits[i] - largest);
    sum += probabilities[i];
  }
  for (float& probability : probabilities) probability /= sum;
}

class VitClassifier : public Classifier {
 public:
  explicit VitClassifier(std::shared_ptr<const VitModelParts> parts)
      : owner_(std::move(parts)),
        parts_(*owner_),
        config_(parts_.config),
        weights_(*parts_.weights),
        stream_(onednn::Cpu()),
        a_(config_, parts_.precision, static_cast<int>(parts_.ops.size())) {
    a_.matmul_scratch.resize(parts_.scratchpad_bytes);
    for (size_t i = 0; i < parts_.ops.size(); ++i) {
      plans_.push_back(std::make_unique<VitPlan>(config_, parts_.precision,
                                                 static_cast<int>(i + 1),
                                                 *parts_.ops[i], weights_, a_));
    }
  }

  const ModelInfo& info() const override { return parts_.info; }
  int max_batch_size() const override { return parts_.max_batch_size; }

  absl::Status Classify(std::span<const Image> images,
                        std::span<Prediction> predictions,
                        std::span<Attention* const> attention) override {
    if (absl::Status status = Check(images, predictions, attention);
        !status.ok()) {
      return status;
    }
    onednn::UseOneThread();
    for (size_t first = 0; first < images.size(); first += plans_.size()) {
      const size_t count = std::min(images.size() - first, plans_.size());
      absl::Status status = Compute(
          images.subspan(first, count), predictions.subspan(first, count),
          attention.empty() ? attention : attention.subspan(first, count));
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Check(std::span<const Image> images,
                     std::span<Prediction> predictions,
                     std::span<Attention* const> attention) const {
    if (images.size() > static_cast<size_t>(parts_.max_batch_size)) {
      return absl::InvalidArgumentError(
          absl::StrCat("batch: expected at most ", parts_.max_batch_size,
                       " images, got ", images.size()));
    }
    if (predictions.size() != images.size() ||
        (!attention.empty() && attention.size() != images.size())) {
      return absl::InvalidArgumentError(absl::StrCat(
          "batch: expected ", images.size(), " predictions and as many or no ",
          "attentions, got ", predictions.size(), " and ", attention.size()));
    }
    const auto bytes = static_cast<size_t>(parts_.info.image.size());
    for (size_t i = 0; i < images.size(); ++i) {
      if (images[i].pixels.size() != bytes) {
        return absl::InvalidArgumentError(
            absl::StrCat("images[", i, "]: expected ", bytes, " bytes, got ",
                         images[i].pixels.size()));
      }
    }
    return absl::OkStatus();
  }

  // As many images as there is a plan for.
  absl::Status Compute(std::span<const Image> images,
                       std::span<Prediction> predictions,
                       std::span<Attention* const> attention) {
    const VitPlan& plan = *plans_[images.size() - 1];
    const bool explain = std::ranges::any_of(
        attention, [](const Attention* wanted) { return wanted != nullptr; });
    for (size_t i = 0; i < images.size(); ++i) Start(images[i], i);
    if (absl::Status status = Run(plan.embed); !status.ok()) return status;
    MakeRoom(attention);
    const size_t whole = plan.layers.size() - (plan.last ? 1 : 0);
    for (size_t layer = 0; layer < whole; ++layer) {
      absl::Status status =
          Encode(plan.layers[layer], layer, images.size(), attention);
      if (!status.ok()) return status;
    }
    // Only to show how all tokens of the last layer attend: an image's answer
    // is the same whether it, or another of its batch, is explained.
    if (plan.last && explain) {
      absl::Status status =
          SelfAttend(plan.layers.back(), whole, images.size(), attention);
      if (!status.ok()) return status;
    }
    Pool(images.size());
    if (plan.last) {
      absl::Status status = EncodeClassTokens(*plan.last, images.size());
      if (!status.ok()) return status;
    }
    NormPooled(images.size());
    if (absl::Status status = Run(plan.head); !status.ok()) return status;
    for (size_t i = 0; i < images.size(); ++i) Answer(i, predictions[i]);
    return absl::OkStatus();
  }

  absl::Status Run(const LinearStep& step) { return step(stream_); }

  size_t tokens() const { return config_.tokens(); }
  size_t width() const { return config_.width; }

  // Pixels to patches, the one copy of an image on its way; and every token's
  // start.
  void Start(const Image& image, size_t i) {
    const std::vector<float>& start = weights_.start;
    std::memcpy(&a_.stream[i * start.size()], start.data(),
                start.size() * sizeof(float));
    const size_t first = config_.class_token ? 1 : 0;
    const size_t offset = (i * tokens() + first) * config_.patch_values();
    a_.patches.CopyPatches(config_, image.pixels.data(), offset);
  }

  void MakeRoom(std::span<Attention* const> attention) const {
    for (Attention* wanted : attention) {
      if (wanted == nullptr) continue;
      wanted->layers = config_.depth;
      wanted->heads = config_.heads;
      wanted->tokens = config_.tokens();
      wanted->weights.resize(size_t{1} * config_.depth * config_.heads *
                             tokens() * tokens());
    }
  }

  // One encoder layer, for all tokens of all images.
  absl::Status Encode(const VitPlan::Layer& layer, size_t index, size_t images,
                      std::span<Attention* const> attention) {
    absl::Status status = SelfAttend(layer, index, images, attention);
    if (!status.ok()) return status;
    if (status = Run(layer.proj); !status.ok()) return status;
    Norm(weights_.blocks[index].norm2, a_.stream.data(), images * tokens());
    if (status = Run(layer.fc1); !status.ok()) return status;
    return Run(layer.fc2);
  }

  // Its first half up to `context`.
  absl::Status SelfAttend(const VitPlan::Layer& layer, size_t index,
                          size_t images,
                          std::span<Attention* const> attention) {
    const PackedBlock& block = weights_.blocks[index];
    Norm(block.norm1, a_.stream.data(), images * tokens());
    if (absl::Status status = Run(layer.qkv); !status.ok()) return status;
    for (size_t i = 0; i < images; ++i) {
      float* weights = nullptr;
      if (!attention.empty() && attention[i] != nullptr) {
        weights =
            &attention[i]->weights[index * config_.heads * tokens() * tokens()];
      }
      const size_t offset = i * tokens() * 3 * width();
      const auto attend = [&]<typename Input>(Input in, const auto* qkv) {
        in.query = qkv;
        in.query_stride = 3 * width();
        in.key = qkv + width();
        in.value = qkv + 2 * width();
        in.key_value_stride = 3 * width();
        in.queries = in.tokens = tokens();
        in.heads = config_.heads;
        in.head_width = config_.head_width();
        a_.context.Attend(in, block.context, i * tokens() * width(), weights,
                          a_.attention_scratch.data());
      };
      if (block.attention) {
        attend(InBytes(*block.attention), &a_.qkv_bytes[offset]);
      } else {
        attend(kernels::AttentionInput(), &a_.qkv[offset]);
      }
    }
    return absl::OkStatus();
  }

  // The last encoder layer for the class tokens in `pooled`: they ask all
  // tokens, and are the only ones that are read after it.
  absl::Status EncodeClassTokens(const VitPlan::LastLayer& layer,
                                 size_t images) {
    const PackedBlock& block = weights_.blocks.back();
    const PackedClassAttention& last = *weights_.last;
    float* normed = a_.qkv.data();
    kernels::LayerNorm(NormOf(last.norm, a_.stream.data(), images * tokens()),
                       normed);
    absl::Status status = Run(layer.query);
    if (!status.ok()) return status;
    for (size_t i = 0; i < images; ++i) {
      a_.context.AttendAbsorbed({.query = &a_.query[i * width()],
                                 .data = normed + i * tokens() * width(),
                                 .tokens = tokens()},
                                last.absorbed, block.context, i * width(),
                                a_.attention_scratch.data());
    }
    if (status = Run(layer.proj); !status.ok()) return status;
    Norm(block.norm2, a_.pooled.data(), images);
    if (status = Run(layer.fc1); !status.ok()) return status;
    return Run(layer.fc2);
  }

  static kernels::ByteAttentionInput InBytes(const ByteAttention& attention) {
    return {.score_step = attention.score_step,
            .value_step = attention.value_step};
  }

  void Norm(const PackedNorm& norm, const float* rows, size_t count) {
    a_.normed.LayerNorm(NormOf(norm, rows, count));
  }

  kernels::NormInput NormOf(const PackedNorm& norm, const float* rows,
                            size_t count) const {
    return {.data = rows,
            .stride = width(),
            .rows = count,
            .width = width(),
            .gain = norm.gain.data(),
            .shift = norm.shift.data(),
            .epsilon = config_.layer_norm_epsilon};
  }

  // What the head reads: the class token, or the mean of the patches.
  void Pool(size_t images) {
    const size_t first =
        config_.class_token && config_.pool == Pool::kAverage ? 1 : 0;
    const size_t end = config_.pool == Pool::kToken ? 1 : tokens();
    const float share = 1.0f / static_cast<float>(end - first);
    for (size_t i = 0; i < images; ++i) {
      const std::span pooled(&a_.pooled[i * width()], width());
      std::fill(pooled.begin(), pooled.end(), 0.0f);
      for (size_t t = first; t < end; ++t) {
        const float* token = &a_.stream[(i * tokens() + t) * width()];
        for (size_t j = 0; j < width(); ++j) pooled[j] += share * token[j];
      }
    }
  }

  void NormPooled(size_t images) {
    kernels::LayerNorm(NormOf(weights_.head_norm, a_.pooled.data(), images),
                       a_.pooled.data());
  }

  void Answer(size_t image, Prediction& prediction) const {
    const auto classes = static_cast<size_t>(config_.classes);
    const std::span logits(&a_.logits[image * classes], classes);
    prediction.logits.assign(logits.begin(), logits.end());
    prediction.label = static_cast<int>(
        std::max_element(logits.begin(), logits.end()) - logits.begin());
    prediction.probabilities.resize(classes);
    Softmax(logits, prediction.probabilities);
  }

  const std::shared_ptr<const VitModelParts> owner_;
  const VitModelParts& parts_;
  const VitConfig& config_;
  const PackedWeights& weights_;
  const dnnl::stream stream_;
  Activations a_;
  std::vector<std::unique_ptr<VitPlan>> plans_;  // of i + 1 images
};

}  // namespace

std::unique_ptr<Classifier> MakeVitClassifier(
    std::shared_ptr<const VitModelParts> parts) {
  return std::make_unique<VitClassifier>(std::move(parts));
}

}  // namespace vit
