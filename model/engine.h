#ifndef MNIST_VIT_MODEL_ENGINE_H_
#define MNIST_VIT_MODEL_ENGINE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/classifier.h"
#include "model/weights.h"

namespace vit {

// What the matrix products are computed in; all else is f32.
enum class Precision {
  kF32,
  // Weights and activations rounded to 8 of their 24 digits (bfloat16), summed
  // up in f32.
  kBf16,
  // 8-bit weights, with a scale for each output, and 8-bit activations, with a
  // scale for each matrix product, summed up in 32 bits. On AVX-512 with VNNI
  // and VBMI those within attention too, if the model's file has their scales.
  kInt8,
};

// "f32", "bf16" or "int8".
const char* PrecisionName(Precision precision);

struct EngineOptions {
  int max_batch_size = 32;  // images
  Precision precision = Precision::kF32;
  // oneDNN's matmuls even where our own linear kernels would be taken; for
  // tests and comparisons.
  bool only_onednn = false;
};

struct VitModelParts;

// A model made ready to compute: its weights packed for this CPU's kernels, and
// the kernels compiled. All of that is done here, once, and shared by all
// classifiers made of it.
//
// Large batches are computed in parts whose activations stay in a core's own
// cache; that is quicker, and keeps the number of kernels small.
//
// Immutable, so thread-safe.
class VitModel {
 public:
  // InvalidArgument if an option is out of range; FailedPrecondition for int8
  // if the model is not quantised or this CPU cannot do it exactly, for bf16 if
  // this CPU cannot do it itself; Internal if oneDNN cannot make a kernel.
  static absl::StatusOr<std::shared_ptr<const VitModel>> Create(
      const VitWeights& weights, const EngineOptions& options);

  ~VitModel();

  VitModel(const VitModel&) = delete;
  VitModel& operator=(const VitModel&) = delete;

  const ModelInfo& info() const;

  // A classifier for one worker, with activations of its own, that outlives the
  // model if it must. It computes on the calling thread alone: cores are kept
  // busy by workers, each with a batch, not by threads that meet after every
  // matmul of a small network. Classify allocates no buffer.
  absl::StatusOr<std::unique_ptr<Classifier>> NewClassifier() const;

  // The most images that a classifier computes at once: a larger batch is
  // computed in parts.
  int images_at_once() const;

  // oneDNN's names of those of its kernels that the largest part uses, for who
  // wonders about speed.
  std::vector<std::string> KernelNames() const;

  // Whether this CPU sums up 8-bit products exactly, as int8 needs.
  static bool SupportsInt8();

  // Whether this CPU has bfloat16 products: AVX512_BF16 or AMX.
  static bool SupportsBf16();

  // oneDNN's version, and the instruction sets that its kernels and our own use
  // on this CPU.
  static std::string Platform();

 private:
  explicit VitModel(std::shared_ptr<const VitModelParts> parts);

  const std::shared_ptr<const VitModelParts> parts_;
};

}  // namespace vit

#endif  // MNIST_VIT_MODEL_ENGINE_H_
