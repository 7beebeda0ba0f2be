#ifndef MNIST_VIT_TESTS_MODEL_MODEL_BUILDER_H_
#define MNIST_VIT_TESTS_MODEL_MODEL_BUILDER_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "model/weights.h"
#include "nlohmann/json.hpp"

namespace vit::testing {

// The trained model's shape.
inline VitConfig MnistConfig() {
  VitConfig config;
  config.image = {.height = 28, .width = 28, .channels = 1};
  config.patch_size = 7;
  config.width = 64;
  config.depth = 6;
  config.heads = 4;
  config.mlp_width = 256;
  config.classes = 10;
  return config;
}

// A model of this shape with random weights, large enough that every part of
// the network shows in the logits. The same seed gives the same model.
inline VitWeights RandomModel(const VitConfig& config, unsigned seed = 1) {
  VitWeights weights;
  weights.name = "random";
  weights.version = "1";
  weights.config = config;
  for (int i = 0; i < config.classes; ++i) {
    weights.labels.push_back(std::to_string(i));
  }
  weights.normalization.mean.assign(config.image.channels, 0.2f);
  weights.normalization.std.assign(config.image.channels, 0.4f);
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  for (const TensorSpec& spec : TensorTable(weights)) {
    int64_t size = 1;
    for (const int64_t extent : spec.shape) size *= extent;
    // Matrices keep the size of what goes through them; vectors add a little.
    const bool is_matrix = spec.shape.size() == 2 || spec.shape.size() == 4;
    const auto inputs =
        static_cast<float>(size) / static_cast<float>(spec.shape[0]);
    const float scale = is_matrix ? 1.2f / std::sqrt(inputs) : 0.3f;
    const bool is_gain = spec.name.find("norm") != std::string::npos &&
                         spec.name.ends_with("weight");
    spec.values->resize(size);
    for (float& value : *spec.values) {
      value = (is_gain ? 1.0f : 0.0f) + scale * normal(random);
    }
  }
  // Normalised values seldom leave -4..4, and GELU's least is -0.17.
  const Quantization normed = {.scale = 8.0f / 255, .zero_point = 128};
  for (BlockWeights& block : weights.blocks) {
    block.quantization = {
        .qkv = normed,
        .proj = normed,
        .fc1 = normed,
        .fc2 = {.scale = 5.0f / 255, .zero_point = 9},
        .attention = AttentionSteps{
            .query = 5.0f / 127, .key = 5.0f / 127, .value = 5.0f / 127}};
  }
  weights.quantized = true;
  return weights;
}

// `count` images' bytes of this shape, of noise.
inline std::vector<std::vector<uint8_t>> RandomImages(const ImageShape& shape,
                                                      int count,
                                                      unsigned seed = 1) {
  std::mt19937 random(seed);
  std::vector<std::vector<uint8_t>> images(count);
  for (std::vector<uint8_t>& image : images) {
    image.resize(shape.size());
    for (uint8_t& byte : image) byte = static_cast<uint8_t>(random());
  }
  return images;
}

inline std::vector<Image> Views(
    const std::vector<std::vector<uint8_t>>& images) {
  std::vector<Image> views;
  for (const std::vector<uint8_t>& image : images) {
    views.push_back({.pixels = image});
  }
  return views;
}

// A safetensors file of this header and these data.
inline std::vector<uint8_t> FileOf(const std::string& header,
                                   const std::vector<uint8_t>& data) {
  constexpr size_t kLengthBytes = 8;
  std::vector<uint8_t> file(kLengthBytes + header.size() + data.size());
  for (size_t i = 0; i < kLengthBytes; ++i) {
    file[i] = static_cast<uint8_t>(header.size() >> (8 * i));
  }
  std::copy(header.begin(), header.end(), file.begin() + kLengthBytes);
  std::copy(data.rbegin(), data.rend(), file.rbegin());
  return file;
}

// A model as the JSON header and the data of its file, to be spoilt by a test.
struct ModelFile {
  nlohmann::json header;
  std::vector<uint8_t> data;

  std::vector<uint8_t> Bytes() const { return FileOf(header.dump(), data); }
};

inline ModelFile Write(VitWeights weights) {
  const VitConfig& c = weights.config;
  const nlohmann::json config = {
      {"image_size", c.image.height},
      {"channels", c.image.channels},
      {"patch_size", c.patch_size},
      {"width", c.width},
      {"depth", c.depth},
      {"heads", c.heads},
      {"mlp_width", c.mlp_width},
      {"classes", c.classes},
      {"class_token", c.class_token},
      {"pool", c.pool == Pool::kToken ? "token" : "avg"},
      {"qkv_bias", c.qkv_bias},
      {"proj_bias", c.proj_bias},
      {"mlp_bias", c.mlp_bias},
      {"layer_norm_epsilon", c.layer_norm_epsilon}};
  const nlohmann::json normalization = {{"mean", weights.normalization.mean},
                                        {"std", weights.normalization.std}};
  ModelFile file;
  file.header["__metadata__"] = {
      {"vit.config", config.dump()},
      {"vit.normalization", normalization.dump()},
      {"vit.labels", nlohmann::json(weights.labels).dump()},
      {"vit.name", weights.name},
      {"vit.version", weights.version}};
  for (const TensorSpec& spec : TensorTable(weights)) {
    const size_t begin = file.data.size();
    const size_t bytes = spec.values->size() * sizeof(float);
    file.data.resize(begin + bytes);
    std::memcpy(&file.data[begin], spec.values->data(), bytes);
    file.header[spec.name] = {{"dtype", "F32"},
                              {"shape", spec.shape},
                              {"data_offsets", {begin, begin + bytes}}};
  }
  return file;
}

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_MODEL_MODEL_BUILDER_H_
