#ifndef MNIST_VIT_MODEL_CLASSIFIER_H_
#define MNIST_VIT_MODEL_CLASSIFIER_H_

#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/image.h"

namespace vit {

// What a loaded model expects and gives, for those who serve it.
struct ModelInfo {
  std::string name;
  std::string version;
  std::string digest;  // SHA-256 of the model's file, 64 hexadecimal digits
  ImageShape image;
  int patch_size = 0;            // side of a square patch, pixels
  int tokens = 0;                // patches, and one more with a class token
  bool has_class_token = false;  // if so, it is token 0
  int layers = 0;
  int heads = 0;
  std::vector<std::string>
      labels;  // one for each class; its size is the number of classes
};

// The answer for one image. The vectors have one entry a class.
struct Prediction {
  int label = 0;  // index of the largest logit; the first one among equals
  std::vector<float> logits;
  std::vector<float> probabilities;  // softmax of the logits; they sum to 1

  float confidence() const { return probabilities[label]; }
};

// The attention weights of one image: Softmax(Q K^T / sqrt(d_k)) of every layer
// and head (Vaswani et al. 2017, equation 1). Every row sums to 1 and has no
// negative entry.
struct Attention {
  int layers = 0;
  int heads = 0;
  int tokens = 0;
  std::vector<float> weights;  // [layers][heads][tokens][tokens], row-major

  // The tokens x tokens matrix of one layer and head; row i says where token i
  // attends to.
  std::span<const float> matrix(int layer, int head) const {
    const size_t size = static_cast<size_t>(tokens) * tokens;
    return std::span(weights).subspan(
        (static_cast<size_t>(layer) * heads + head) * size, size);
  }
};

// The seam between serving and arithmetic: classifies batches of images.
//
// Thread-compatible: one caller at a time. For several workers make several
// classifiers; those made from one model share its weights.
class Classifier {
 public:
  virtual ~Classifier() = default;

  virtual const ModelInfo& info() const = 0;

  // The largest batch that Classify takes.
  virtual int max_batch_size() const = 0;

  // Classifies images[i] into predictions[i]. A result depends on its own image
  // alone: it is the same whatever else is in the batch.
  //
  // `attention` is empty, or has one entry an image: where it is not null, that
  // image's attention weights are written to it.
  //
  // InvalidArgument, naming the index, if an image has the wrong size, if there
  // are more images than max_batch_size(), or if the spans differ in size;
  // Internal if the arithmetic fails. After an error the predictions are
  // unspecified.
  virtual absl::Status Classify(std::span<const Image> images,
                                std::span<Prediction> predictions,
                                std::span<Attention* const> attention = {}) = 0;
};

}  // namespace vit

#endif  // MNIST_VIT_MODEL_CLASSIFIER_H_
