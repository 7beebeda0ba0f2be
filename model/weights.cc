#include "model/weights.h"

#include <cmath>
#include <cstddef>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace vit {
namespace {

using Json = nlohmann::json;

absl::StatusOr<std::string> Metadata(const SafeTensors& file,
                                     const std::string& key) {
  const auto it = file.metadata().find(key);
  if (it != file.metadata().end()) return it->second;
  return absl::InvalidArgumentError(
      absl::StrCat("metadata \"", key, "\" is missing"));
}

// The numbers of a JSON array of `count` finite numbers.
absl::StatusOr<std::vector<float>> Numbers(const Json& object,
                                           const char* field, int count) {
  const absl::Status error = absl::InvalidArgumentError(
      absl::StrCat("vit.normalization: expected an array \"", field, "\" of ",
                   count, " finite numbers, one for each channel"));
  const auto it = object.find(field);
  if (it == object.end() || !it->is_array() ||
      it->size() != static_cast<size_t>(count)) {
    return error;
  }
  std::vector<float> numbers;
  for (const Json& number : *it) {
    if (!number.is_number()) return error;
    numbers.push_back(static_cast<float>(number.get<double>()));
    if (!std::isfinite(numbers.back())) return error;
  }
  return numbers;
}

absl::StatusOr<Normalization> ParseNormalization(const std::string& json,
                                                 int channels) {
  const Json object = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) {
    return absl::InvalidArgumentError(
        "vit.normalization: is not a JSON object");
  }
  auto mean = Numbers(object, "mean", channels);
  if (!mean.ok()) return mean.status();
  auto std = Numbers(object, "std", channels);
  if (!std.ok()) return std.status();
  for (const float value : *std) {
    if (value <= 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "vit.normalization: std holds ", value, ", expected above 0"));
    }
  }
  return Normalization{*std::move(mean), *std::move(std)};
}

absl::StatusOr<std::vector<std::string>> ParseLabels(const std::string& json,
                                                     int classes) {
  const Json array = Json::parse(json, nullptr, /*allow_exceptions=*/false);
  if (!array.is_array()) {
    return absl::InvalidArgumentError("vit.labels: is not a JSON array");
  }
  if (array.size() != static_cast<size_t>(classes)) {
    return absl::InvalidArgumentError(
        absl::StrCat("vit.labels: has ", array.size(), " labels, expected ",
                     classes, ", one for each class"));
  }
  std::vector<std::string> labels;
  for (const Json& label : array) {
    if (!label.is_string()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "vit.labels: holds ", label.dump(), ", expected strings only"));
    }
    labels.push_back(label.get<std::string>());
  }
  return labels;
}

absl::Status ReadQuantization(const Json& object, const std::string& name,
                              Quantization& quantization) {
  const auto it = object.find(name);
  if (it != object.end() && it->is_object()) {
    const auto scale = it->find("scale");
    const auto zero_point = it->find("zero_point");
    if (scale != it->end() && scale->is_number() && zero_point != it->end() &&
        zero_point->is_number_integer()) {
      const auto zero = zero_point->get<int64_t>();
      quantization.scale = scale->get<float>();
      quantization.zero_point = static_cast<int>(zero);
      if (std::isnormal(quantization.scale) && quantization.scale > 0 &&
          zero >= 0 && zero <= 255) {
        return absl::OkStatus();
      }
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "vit.quantization: \"", name, "\": expected {\"scale\": above 0, ",
      "\"zero_point\": 0 to 255}, found ",
      it == object.end() ? "nothing" : it->dump()));
}

// Optional, all three of a block.
absl::Status ReadAttentionSteps(const Json& object, const std::string& prefix,
                                BlockQuantization& block) {
  if (!object.contains(prefix + "attn.query")) return absl::OkStatus();
  AttentionSteps steps;
  const std::vector<std::pair<const char*, float*>> parts = {
      {"attn.query", &steps.query},
      {"attn.key", &steps.key},
      {"attn.value", &steps.value}};
  for (const auto& [name, step] : parts) {
    Quantization found;
    absl::Status status = ReadQuantization(object, prefix + name, found);
    if (!status.ok()) return status;
    if (found.zero_point != 128) {
      return absl::InvalidArgumentError(absl::StrCat(
          "vit.quantization: \"", prefix, name,
          "\": expected the zero point 128, found ", found.zero_point));
    }
    *step = found.scale;
  }
  block.attention = steps;
  return absl::OkStatus();
}

// Optional: a file without it is served in floating point only.
absl::Status ReadQuantizations(const SafeTensors& file, VitWeights& weights) {
  const auto json = file.metadata().find("vit.quantization");
  if (json == file.metadata().end()) return absl::OkStatus();
  const Json object =
      Json::parse(json->second, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) {
    return absl::InvalidArgumentError("vit.quantization: is not a JSON object");
  }
  for (size_t n = 0; n < weights.blocks.size(); ++n) {
    BlockQuantization& q = weights.blocks[n].quantization;
    const std::string prefix = absl::StrCat("blocks.", n, ".");
    const std::vector<std::pair<const char*, Quantization*>> inputs = {
        {"attn.qkv", &q.qkv},
        {"attn.proj", &q.proj},
        {"mlp.fc1", &q.fc1},
        {"mlp.fc2", &q.fc2}};
    for (const auto& [name, quantization] : inputs) {
      absl::Status status =
          ReadQuantization(object, prefix + name, *quantization);
      if (!status.ok()) return status;
    }
    absl::Status status = ReadAttentionSteps(object, prefix, q);
    if (!status.ok()) return status;
  }
  weights.quantized = true;
  return absl::OkStatus();
}

absl::Status ReadMetadata(const SafeTensors& file, VitWeights& weights) {
  std::string config_json, normalization_json, labels_json;
  const std::vector<std::pair<const char*, std::string*>> wanted = {
      {"vit.name", &weights.name},  {"vit.version", &weights.version},
      {"vit.config", &config_json}, {"vit.normalization", &normalization_json},
      {"vit.labels", &labels_json},
  };
  for (const auto& [key, destination] : wanted) {
    absl::StatusOr<std::string> value = Metadata(file, key);
    if (!value.ok()) return value.status();
    *destination = *std::move(value);
  }
  const absl::StatusOr<VitConfig> config = ParseVitConfig(config_json);
  if (!config.ok()) return config.status();
  weights.config = *config;
  auto normalization =
      ParseNormalization(normalization_json, config->image.channels);
  if (!normalization.ok()) return normalization.status();
  weights.normalization = *std::move(normalization);
  auto labels = ParseLabels(labels_json, config->classes);
  if (!labels.ok()) return labels.status();
  weights.labels = *std::move(labels);
  return absl::OkStatus();
}

absl::Status ReadTensor(const SafeTensors& file, const TensorSpec& spec) {
  const std::string what = absl::StrCat("tensor \"", spec.name, "\": ");
  const auto it = file.tensors().find(spec.name);
  if (it == file.tensors().end()) {
    return absl::InvalidArgumentError(absl::StrCat(
        what, "is missing, expected F32 ", ShapeToString(spec.shape)));
  }
  if (it->second.shape != spec.shape) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, "shape is ", ShapeToString(it->second.shape),
                     ", expected ", ShapeToString(spec.shape)));
  }
  absl::StatusOr<std::vector<float>> values = file.Values<float>(spec.name);
  if (!values.ok()) return values.status();
  for (size_t i = 0; i < values->size(); ++i) {
    if (!std::isfinite((*values)[i])) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, "value ", i, " is ", (*values)[i],
                       ", expected finite numbers only"));
    }
  }
  *spec.values = *std::move(values);
  return absl::OkStatus();
}

}  // namespace

std::vector<TensorSpec> TensorTable(VitWeights& w) {
  const VitConfig& c = w.config;
  w.blocks.resize(c.depth);
  std::vector<TensorSpec> table;
  const auto linear = [&table](const std::string& name, LinearWeights& layer,
                               int64_t outputs, int64_t inputs, bool bias) {
    table.push_back({name + ".weight", {outputs, inputs}, &layer.weight});
    if (bias) table.push_back({name + ".bias", {outputs}, &layer.bias});
  };
  const auto norm = [&table, &c](const std::string& name, NormWeights& layer) {
    table.push_back({name + ".weight", {c.width}, &layer.scale});
    table.push_back({name + ".bias", {c.width}, &layer.shift});
  };

  table.push_back({"patch_embed.proj.weight",
                   {c.width, c.image.channels, c.patch_size, c.patch_size},
                   &w.patch_embed.weight});
  table.push_back({"patch_embed.proj.bias", {c.width}, &w.patch_embed.bias});
  if (c.class_token) {
    table.push_back({"cls_token", {1, 1, c.width}, &w.class_token});
  }
  table.push_back(
      {"pos_embed", {1, c.tokens(), c.width}, &w.position_embedding});
  for (int n = 0; n < c.depth; ++n) {
    BlockWeights& block = w.blocks[n];
    const std::string prefix = absl::StrCat("blocks.", n, ".");
    norm(prefix + "norm1", block.norm1);
    linear(prefix + "attn.qkv", block.qkv, 3 * c.width, c.width, c.qkv_bias);
    linear(prefix + "attn.proj", block.proj, c.width, c.width, c.proj_bias);
    norm(prefix + "norm2", block.norm2);
    linear(prefix + "mlp.fc1", block.fc1, c.mlp_width, c.width, c.mlp_bias);
    linear(prefix + "mlp.fc2", block.fc2, c.width, c.mlp_width, c.mlp_bias);
  }
  norm(c.pool == Pool::kToken ? "norm" : "fc_norm", w.norm);
  linear("head", w.head, c.classes, c.width, /*bias=*/true);
  return table;
}

absl::StatusOr<VitWeights> VitWeightsFrom(const SafeTensors& file) {
  VitWeights weights;
  weights.digest = file.digest();
  absl::Status status = ReadMetadata(file, weights);
  if (!status.ok()) return status;
  std::set<std::string> known;
  for (const TensorSpec& spec : TensorTable(weights)) {
    status = ReadTensor(file, spec);
    if (!status.ok()) return status;
    known.insert(spec.name);
  }
  status = ReadQuantizations(file, weights);
  if (!status.ok()) return status;
  for (const auto& [name, entry] : file.tensors()) {
    if (!known.contains(name)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor \"", name, "\": ", entry.dtype, " ",
          ShapeToString(entry.shape),
          " is unknown; the configuration calls for no such tensor"));
    }
  }
  return weights;
}

absl::StatusOr<VitWeights> LoadVitWeights(const std::string& path) {
  const absl::StatusOr<SafeTensors> file = SafeTensors::Load(path);
  if (!file.ok()) return file.status();
  absl::StatusOr<VitWeights> weights = VitWeightsFrom(*file);
  if (weights.ok()) return weights;
  return absl::Status(weights.status().code(),
                      absl::StrCat(path, ": ", weights.status().message()));
}

ModelInfo ModelInfoOf(const VitWeights& weights) {
  const VitConfig& config = weights.config;
  ModelInfo info;
  info.name = weights.name;
  info.version = weights.version;
  info.digest = weights.digest;
  info.image = config.image;
  info.patch_size = config.patch_size;
  info.tokens = config.tokens();
  info.has_class_token = config.class_token;
  info.layers = config.depth;
  info.heads = config.heads;
  info.labels = weights.labels;
  return info;
}

}  // namespace vit
