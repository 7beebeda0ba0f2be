#ifndef MNIST_VIT_MODEL_VIT_CONFIG_H_
#define MNIST_VIT_MODEL_VIT_CONFIG_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/image.h"

namespace vit {

// How the tokens of the last block become the one vector that is classified.
enum class Pool {
  kToken,    // the class token
  kAverage,  // the mean of the patch tokens, without the class token
};

// The shape of a vision transformer (Dosovitskiy et al. 2021, arXiv
// 2010.11929). A plain value; safe to copy and to read from several threads.
struct VitConfig {
  ImageShape image;
  int patch_size = 0;  // side of a square patch, pixels
  int width = 0;       // values of one token ("D" in the paper)
  int depth = 0;       // transformer blocks ("L")
  int heads = 0;       // attention heads of a block
  int mlp_width = 0;   // hidden values of a block's MLP
  int classes = 0;
  bool class_token = true;
  Pool pool = Pool::kToken;
  bool qkv_bias = true;   // the query, key, value projection adds a bias
  bool proj_bias = true;  // the projection after attention adds one
  bool mlp_bias = true;   // both layers of the MLP add one
  float layer_norm_epsilon = 1e-6f;

  int patches() const {
    return (image.height / patch_size) * (image.width / patch_size);
  }
  int tokens() const { return patches() + (class_token ? 1 : 0); }
  int head_width() const { return width / heads; }  // "d_k"
  int patch_values() const { return patch_size * patch_size * image.channels; }

  friend bool operator==(const VitConfig&, const VitConfig&) = default;
};

// OK if a model can have this shape; else InvalidArgument, naming the field,
// its value, and what is allowed.
absl::Status ValidateVitConfig(const VitConfig& config);

// Reads a configuration such as
//
//   {"image_size": 28, "channels": 1, "patch_size": 7, "width": 64,
//    "depth": 6, "heads": 4, "mlp_width": 256, "classes": 10,
//    "class_token": true, "pool": "token", "qkv_bias": true,
//    "proj_bias": true, "mlp_bias": true, "layer_norm_epsilon": 1e-6}
//
// and validates it. Every field is required and no other is allowed. `pool` is
// "token" or "avg". Errors are InvalidArgument and name the field.
absl::StatusOr<VitConfig> ParseVitConfig(const std::string& json);

}  // namespace vit

#endif  // MNIST_VIT_MODEL_VIT_CONFIG_H_
