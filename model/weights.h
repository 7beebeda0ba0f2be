#ifndef MNIST_VIT_MODEL_WEIGHTS_H_
#define MNIST_VIT_MODEL_WEIGHTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/classifier.h"
#include "model/safetensors.h"
#include "model/vit_config.h"

namespace vit {

// y = W x + b.
struct LinearWeights {
  std::vector<float> weight;  // [outputs][inputs], row-major
  std::vector<float> bias;    // [outputs]; empty without a bias
};

// Layer normalisation's gain and bias, one for each value of a token.
struct NormWeights {
  std::vector<float> scale;
  std::vector<float> shift;
};

// How an activation is stored in a byte: value = (byte - zero_point) * scale.
struct Quantization {
  float scale = 1;     // above 0
  int zero_point = 0;  // 0 to 255
};

// The steps of a block's queries, keys and values as bytes, whose zero point is
// 128.
struct AttentionSteps {
  float query = 1;
  float key = 1;
  float value = 1;
};

// Of what goes into each of a block's matrix products.
struct BlockQuantization {
  Quantization qkv;
  Quantization proj;
  Quantization fc1;
  Quantization fc2;
  // Where the file has none, attention is computed in f32.
  std::optional<AttentionSteps> attention;
};

// One transformer block.
struct BlockWeights {
  NormWeights norm1;
  LinearWeights qkv;  // outputs: all heads' queries, then keys, then values
  LinearWeights proj;
  NormWeights norm2;
  LinearWeights fc1;
  LinearWeights fc2;
  BlockQuantization quantization;  // if VitWeights::quantized
};

// How a pixel becomes an input: (pixel / 255 - mean) / std, by channel.
struct Normalization {
  std::vector<float> mean;
  std::vector<float> std;
};

// All that a model file holds: every number is finite and every vector has the
// size that `config` says. A plain value.
struct VitWeights {
  std::string name;
  std::string version;
  std::string digest;  // SafeTensors::digest; empty if it comes from no file
  std::vector<std::string> labels;  // one for each class
  VitConfig config;
  Normalization normalization;

  LinearWeights patch_embed;       // inputs: [channel][row][column] of a patch
  std::vector<float> class_token;  // [width]; empty without one
  std::vector<float> position_embedding;  // [tokens][width]
  std::vector<BlockWeights> blocks;       // [depth]
  NormWeights norm;                       // before the head
  bool quantized = false;  // whether the file says how to compute in int8
  LinearWeights head;
};

// One tensor of a model file, and the place of its values in a VitWeights.
struct TensorSpec {
  std::string name;  // the name that PyTorch Image Models (timm) uses
  std::vector<int64_t> shape;
  std::vector<float>* values;
};

// The tensors that a model of shape `weights.config` has, one by one. Makes
// `weights.blocks` as long as the model is deep. The table by which a model
// file is read, and test models are made and written.
std::vector<TensorSpec> TensorTable(VitWeights& weights);

// Reads a model from a safetensors file. Its metadata are:
//
//   vit.config         see ParseVitConfig
//   vit.normalization  {"mean": [...], "std": [...]}, one number a channel
//   vit.labels         ["0", "1", ...], one string a class
//   vit.name, vit.version
//   vit.quantization   optional, for computing in int8: for every
//                      blocks.N.{attn.qkv,attn.proj,mlp.fc1,mlp.fc2} its
//                      input's {"scale": ..., "zero_point": ...}, calibrated
//                      by model/training/quantize.py; and for attention in
//                      bytes, for blocks.N.attn.{query,key,value} the same of
//                      what they are, the zero point being 128
//   sha256             optional, the file's digest: safetensors_digest.h
//
// Its tensors are those of TensorTable, all F32, and no others. Errors name
// the tensor or metadata at fault, what was found and what was expected.
absl::StatusOr<VitWeights> LoadVitWeights(const std::string& path);
absl::StatusOr<VitWeights> VitWeightsFrom(const SafeTensors& file);

// What serving wants to know about the model.
ModelInfo ModelInfoOf(const VitWeights& weights);

}  // namespace vit

#endif  // MNIST_VIT_MODEL_WEIGHTS_H_
