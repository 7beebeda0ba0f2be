#include "model/vit_config.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"

namespace vit {
namespace {

using Json = nlohmann::json;

// Far above any published ViT, and low enough that products of a few of these
// do not overflow 64 bits.
constexpr int kMaxImageSide = 4096;
constexpr int kMaxWidth = 16384;
constexpr int kMaxDepth = 256;
constexpr int kMaxClasses = 1'000'000;
constexpr int kMaxTokens = 16384;

absl::Status CheckRange(const char* name, int value, int low, int high) {
  if (value >= low && value <= high) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "vit.config: ", name, " is ", value, ", expected ", low, " to ", high));
}

// Takes fields out of a JSON object one by one, keeping the first error, so
// that what is left over is unknown.
class FieldReader {
 public:
  explicit FieldReader(Json object) : object_(std::move(object)) {}

  int Int(const char* name) {
    const Json value = Take(name);
    if (!value.is_number_integer() || value < INT32_MIN || value > INT32_MAX) {
      Fail(name, value, "a whole number");
      return 0;
    }
    return value.get<int>();
  }

  bool Bool(const char* name) {
    const Json value = Take(name);
    if (!value.is_boolean()) {
      Fail(name, value, "true or false");
      return false;
    }
    return value.get<bool>();
  }

  float Float(const char* name) {
    const Json value = Take(name);
    if (!value.is_number()) {
      Fail(name, value, "a number");
      return 0;
    }
    return static_cast<float>(value.get<double>());
  }

  Pool PoolKind(const char* name) {
    const Json value = Take(name);
    if (value == "token") return Pool::kToken;
    if (value == "avg") return Pool::kAverage;
    Fail(name, value, "\"token\" or \"avg\"");
    return Pool::kToken;
  }

  // The first error; or that a field is left which nobody asked for.
  absl::Status Finish() const {
    if (!status_.ok() || object_.empty()) return status_;
    return absl::InvalidArgumentError(absl::StrCat(
        "vit.config: unknown field \"", object_.begin().key(), "\""));
  }

 private:
  // Null where the field is missing.
  Json Take(const char* name) {
    const auto it = object_.find(name);
    if (it == object_.end()) return nullptr;
    Json value = std::move(*it);
    object_.erase(it);
    return value;
  }

  void Fail(const char* name, const Json& value, const char* expected) {
    if (!status_.ok()) return;
    status_ = absl::InvalidArgumentError(
        absl::StrCat("vit.config: ", name, " is ",
                     value.is_null() ? std::string("missing") : value.dump(),
                     ", expected ", expected));
  }

  Json object_;
  absl::Status status_;
};

absl::Status CheckRanges(const VitConfig& c) {
  struct Range {
    const char* name;
    int value;
    int high;
  };
  const std::vector<Range> ranges = {
      {"image height", c.image.height, kMaxImageSide},
      {"image width", c.image.width, kMaxImageSide},
      {"patch_size", c.patch_size, kMaxImageSide},
      {"width", c.width, kMaxWidth},
      {"depth", c.depth, kMaxDepth},
      {"heads", c.heads, kMaxWidth},
      {"mlp_width", c.mlp_width, 4 * kMaxWidth},
      {"classes", c.classes, kMaxClasses},
  };
  for (const Range& range : ranges) {
    const absl::Status status =
        CheckRange(range.name, range.value, 1, range.high);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateVitConfig(const VitConfig& c) {
  if (const absl::Status status = CheckRanges(c); !status.ok()) return status;
  if (c.image.channels != 1 && c.image.channels != 3) {
    return absl::InvalidArgumentError(absl::StrCat(
        "vit.config: channels is ", c.image.channels, ", expected 1 or 3"));
  }
  if (c.image.height % c.patch_size != 0 || c.image.width % c.patch_size != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "vit.config: patch_size ", c.patch_size, " does not divide the image, ",
        c.image.height, " x ", c.image.width, " pixels"));
  }
  if (c.width % c.heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "vit.config: heads ", c.heads, " does not divide width ", c.width));
  }
  if (c.pool == Pool::kToken && !c.class_token) {
    return absl::InvalidArgumentError(
        "vit.config: pool is \"token\", but class_token is false; expected "
        "pool \"avg\"");
  }
  if (!(c.layer_norm_epsilon > 0) || c.layer_norm_epsilon > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("vit.config: layer_norm_epsilon is ", c.layer_norm_epsilon,
                     ", expected above 0, at most 1"));
  }
  return CheckRange("the number of tokens", c.tokens(), 1, kMaxTokens);
}

absl::StatusOr<VitConfig> ParseVitConfig(const std::string& json) {
  Json object = Json::parse(json, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!object.is_object()) {
    return absl::InvalidArgumentError("vit.config: is not a JSON object");
  }
  FieldReader fields(std::move(object));
  VitConfig config;
  config.image.height = config.image.width = fields.Int("image_size");
  config.image.channels = fields.Int("channels");
  config.patch_size = fields.Int("patch_size");
  config.width = fields.Int("width");
  config.depth = fields.Int("depth");
  config.heads = fields.Int("heads");
  config.mlp_width = fields.Int("mlp_width");
  config.classes = fields.Int("classes");
  config.class_token = fields.Bool("class_token");
  config.pool = fields.PoolKind("pool");
  config.qkv_bias = fields.Bool("qkv_bias");
  config.proj_bias = fields.Bool("proj_bias");
  config.mlp_bias = fields.Bool("mlp_bias");
  config.layer_norm_epsilon = fields.Float("layer_norm_epsilon");
  absl::Status status = fields.Finish();
  if (status.ok()) status = ValidateVitConfig(config);
  if (!status.ok()) return status;
  return config;
}

}  // namespace vit
