#include "model/engine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/kernels.h"
#include "model/onednn_ops.h"
#include "model/packed_weights.h"
#include "model/vit_classifier.h"
#include "model/vit_plan.h"

namespace vit {
namespace {

// Tokens that are computed together: enough rows for the matmuls to run at
// their full speed, few enough for the widest activation to stay in a second
// level cache of 512 KB or more.
constexpr int kTokensAtOnce = 272;

int ImagesAtOnce(const VitConfig& config, int max_batch_size) {
  return std::clamp(kTokensAtOnce / config.tokens(), 1, max_batch_size);
}

}  // namespace

const char* PrecisionName(Precision precision) {
  switch (precision) {
    case Precision::kBf16:
      return "bf16";
    case Precision::kInt8:
      return "int8";
    default:
      return "f32";
  }
}

VitModel::VitModel(std::shared_ptr<const VitModelParts> parts)
    : parts_(std::move(parts)) {}

VitModel::~VitModel() = default;

const ModelInfo& VitModel::info() const { return parts_->info; }

absl::StatusOr<std::shared_ptr<const VitModel>> VitModel::Create(
    const VitWeights& weights, const EngineOptions& options) {
  if (options.max_batch_size < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_batch_size: expected at least 1, got ", options.max_batch_size));
  }
  if (options.precision == Precision::kInt8) {
    if (!weights.quantized) {
      return absl::FailedPreconditionError(
          "int8: the model's file has no vit.quantization; "
          "model/training/quantize.py adds it");
    }
    if (!SupportsInt8()) {
      return absl::FailedPreconditionError(
          "int8: this CPU has no exact 8-bit products (VNNI)");
    }
  }
  if (options.precision == Precision::kBf16 && !SupportsBf16()) {
    return absl::FailedPreconditionError(
        "bf16: this CPU has no bfloat16 products (AVX512_BF16 or AMX)");
  }
  auto parts = std::make_shared<VitModelParts>();
  parts->config = weights.config;
  parts->info = ModelInfoOf(weights);
  parts->precision = options.precision;
  parts->max_batch_size = options.max_batch_size;
  const Provider provider = ProviderFor(options);
  const absl::Status made = onednn::Guarded("preparing the model", [&] {
    onednn::UseOneThread();
    parts->ops.resize(ImagesAtOnce(weights.config, options.max_batch_size));
    // The largest part has most to gain from its choice of layout: it goes
    // first, and the others follow it.
    const VitOps* largest = nullptr;
    for (size_t images = parts->ops.size(); images >= 1; --images) {
      parts->ops[images - 1] =
          std::make_unique<VitOps>(weights.config, options.precision, provider,
                                   static_cast<int>(images), largest);
      if (largest == nullptr) largest = parts->ops[images - 1].get();
      parts->scratchpad_bytes = std::max(
          parts->scratchpad_bytes, ScratchpadBytes(*parts->ops[images - 1]));
    }
    parts->weights = std::make_unique<PackedWeights>(weights, options.precision,
                                                     provider, *largest);
  });
  if (!made.ok()) return made;
  return std::shared_ptr<const VitModel>(new VitModel(std::move(parts)));
}

absl::StatusOr<std::unique_ptr<Classifier>> VitModel::NewClassifier() const {
  std::unique_ptr<Classifier> classifier;
  const absl::Status made = onednn::Guarded(
      "making a classifier", [&] { classifier = MakeVitClassifier(parts_); });
  if (!made.ok()) return made;
  return classifier;
}

int VitModel::images_at_once() const {
  return static_cast<int>(parts_->ops.size());
}

std::vector<std::string> VitModel::KernelNames() const {
  std::vector<std::string> names;
  for (const onednn::Op* op : parts_->ops.back()->all()) {
    names.push_back(op->kernel);
  }
  return names;
}

bool VitModel::SupportsInt8() { return onednn::HasInt8Products(); }
bool VitModel::SupportsBf16() { return onednn::HasBf16Products(); }

std::string VitModel::Platform() {
  return absl::StrCat(onednn::Description(), "; own kernels ",
                      kernels::TargetName());
}

}  // namespace vit
