#include "model/safetensors_header.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <limits>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "nlohmann/json.hpp"

namespace vit {
namespace {

struct Dtype {
  std::string_view name;
  int64_t bytes;
};

constexpr std::array<Dtype, 15> kDtypes = {{
    {"BOOL", 1},
    {"U8", 1},
    {"I8", 1},
    {"F8_E4M3", 1},
    {"F8_E5M2", 1},
    {"I16", 2},
    {"U16", 2},
    {"F16", 2},
    {"BF16", 2},
    {"I32", 4},
    {"U32", 4},
    {"F32", 4},
    {"I64", 8},
    {"U64", 8},
    {"F64", 8},
}};

// Bytes of one value, or 0 for an unknown dtype.
int64_t ValueBytes(const std::string& name) {
  for (const Dtype& dtype : kDtypes) {
    if (dtype.name == name) return dtype.bytes;
  }
  return 0;
}

// Follows the JSON parser through
//
//   {"__metadata__": {KEY: STRING, ...},
//    NAME: {"dtype": STRING, "shape": [N, ...], "data_offsets": [N, N]}, ...}
//
// and stops at the first thing that is out of place. A handler of events rather
// than a tree, because a tree silently keeps one of two equal keys, and because
// here nothing recurses however deep a hostile header nests.
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  bool key(std::string& name) override {
    if (!keys_.back().insert(name).second) {
      return Fail(absl::StrCat(Where(), "key \"", name, "\" appears twice"));
    }
    key_ = name;
    if (place_ == Place::kTop) {
      tensor_ = name;
      return true;
    }
    if (place_ == Place::kTensor && name != "dtype" && name != "shape" &&
        name != "data_offsets") {
      return Fail(absl::StrCat(Where(), "unknown key \"", name, "\""));
    }
    return true;
  }

  bool start_object(size_t) override {
    keys_.emplace_back();
    if (place_ == Place::kStart) {
      place_ = Place::kTop;
    } else if (place_ == Place::kTop) {
      const bool metadata = tensor_ == "__metadata__";
      place_ = metadata ? Place::kMetadata : Place::kTensor;
      entry_ = {};
      offsets_.clear();
    } else {
      return Unexpected("an object");
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::kTensor && !FinishTensor()) return false;
    keys_.pop_back();
    place_ = keys_.empty() ? Place::kEnd : Place::kTop;
    return true;
  }

  bool start_array(size_t) override {
    if (place_ != Place::kTensor || key_ == "dtype") {
      return Unexpected("an array");
    }
    place_ = key_ == "shape" ? Place::kShape : Place::kOffsets;
    return true;
  }

  bool end_array() override {
    place_ = Place::kTensor;
    return true;
  }

  bool string(std::string& value) override {
    if (place_ == Place::kMetadata) {
      header_.metadata[key_] = value;
      return true;
    }
    if (place_ != Place::kTensor || key_ != "dtype") {
      return Unexpected("a string");
    }
    entry_.dtype = value;
    return true;
  }

  bool number_unsigned(uint64_t value) override {
    if (place_ != Place::kShape && place_ != Place::kOffsets) {
      return Unexpected("a number");
    }
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return Fail(absl::StrCat(Where(), key_, " holds ", value,
                               ", which is too large"));
    }
    (place_ == Place::kShape ? entry_.shape : offsets_)
        .push_back(static_cast<int64_t>(value));
    return true;
  }

  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("true or false"); }
  bool number_integer(int64_t) override {
    return Unexpected("a negative number");
  }
  bool number_float(double, const std::string&) override {
    return Unexpected("a fraction");
  }
  bool binary(nlohmann::json::binary_t&) override {
    return Unexpected("binary");
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::json::exception&) override {
    return Fail(
        absl::StrCat("header is not valid JSON at its byte ", position));
  }

  const std::string& error() const { return error_; }
  SafeTensorsHeader TakeHeader() { return std::move(header_); }

 private:
  enum class Place {
    kStart,
    kTop,
    kMetadata,
    kTensor,
    kShape,
    kOffsets,
    kEnd,
  };

  std::string Where() const {
    if (place_ == Place::kStart || place_ == Place::kTop) return "header: ";
    return absl::StrCat("tensor \"", tensor_, "\": ");
  }

  bool Fail(std::string error) {
    if (error_.empty()) error_ = std::move(error);
    return false;
  }

  bool Unexpected(const char* what) {
    switch (place_) {
      case Place::kStart:
        return Fail(
            absl::StrCat("header is ", what, ", expected a JSON object"));
      case Place::kTop:
        return Fail(absl::StrCat("tensor \"", tensor_, "\": is ", what,
                                 ", expected an object"));
      case Place::kMetadata:
        return Fail(absl::StrCat("__metadata__: \"", key_, "\" is ", what,
                                 ", expected a string"));
      case Place::kShape:
      case Place::kOffsets:
        return Fail(absl::StrCat(Where(), key_, " holds ", what,
                                 ", expected whole numbers from 0"));
      case Place::kTensor:
      case Place::kEnd:
        break;
    }
    return Fail(absl::StrCat(Where(), key_, " is ", what, ", expected ",
                             key_ == "dtype" ? "a string" : "an array"));
  }

  bool FinishTensor() {
    for (const char* field : {"dtype", "shape", "data_offsets"}) {
      if (!keys_.back().contains(field)) {
        return Fail(absl::StrCat(Where(), field, " is missing"));
      }
    }
    if (offsets_.size() != 2) {
      return Fail(absl::StrCat(Where(), "data_offsets has ", offsets_.size(),
                               " numbers, expected 2"));
    }
    entry_.begin = offsets_[0];
    entry_.end = offsets_[1];
    header_.tensors[tensor_] = entry_;
    return true;
  }

  Place place_ = Place::kStart;
  std::vector<std::set<std::string>> keys_;  // seen in each open object
  std::string tensor_;                       // the last key at the top
  std::string key_;                          // the last key
  TensorEntry entry_;
  std::vector<int64_t> offsets_;
  SafeTensorsHeader header_;
  std::string error_;
};

// Bytes that a tensor of this shape takes; nothing if they overflow.
std::optional<int64_t> ShapeBytes(std::span<const int64_t> shape,
                                  int64_t value_bytes) {
  int64_t bytes = value_bytes;
  for (const int64_t size : shape) {
    if (__builtin_mul_overflow(bytes, size, &bytes)) return std::nullopt;
  }
  return bytes;
}

absl::Status CheckEntry(const TensorEntry& entry) {
  const int64_t value_bytes = ValueBytes(entry.dtype);
  if (value_bytes == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype \"", entry.dtype, "\" is unknown"));
  }
  const auto bytes = ShapeBytes(entry.shape, value_bytes);
  if (!bytes.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "shape ", ShapeToString(entry.shape), " has too many values"));
  }
  if (entry.begin > entry.end || entry.end - entry.begin != *bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "data_offsets are ", entry.begin, " to ", entry.end, ", expected ",
        *bytes, " bytes for ", entry.dtype, " ", ShapeToString(entry.shape)));
  }
  return absl::OkStatus();
}

// The ranges, in order, must each start where the last one ended.
absl::Status CheckRanges(const SafeTensorsHeader& header, int64_t data_bytes) {
  std::vector<std::pair<const TensorEntry*, const std::string*>> ordered;
  for (const auto& [name, entry] : header.tensors) {
    if (const absl::Status status = CheckEntry(entry); !status.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor \"", name, "\": ", status.message()));
    }
    ordered.emplace_back(&entry, &name);
  }
  std::ranges::sort(ordered, {}, [](const auto& item) {
    return std::pair(item.first->begin, item.first->end);
  });
  int64_t next = 0;
  for (const auto& [entry, name] : ordered) {
    if (entry->begin != next) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor \"", *name, "\": its bytes start at ", entry->begin,
          ", expected ", next, ", where the tensor before it ends"));
    }
    next = entry->end;
  }
  if (next != data_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tensors take ", next, " bytes, but the file holds ", data_bytes));
  }
  return absl::OkStatus();
}

}  // namespace

std::string ShapeToString(std::span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape.begin(), shape.end(), ", "),
                      "]");
}

absl::StatusOr<SafeTensorsHeader> ParseSafeTensorsHeader(
    std::span<const uint8_t> json, int64_t data_bytes) {
  if (json.empty() || json.front() != '{') {
    return absl::InvalidArgumentError("header does not start with '{'");
  }
  HeaderHandler handler;
  if (!nlohmann::json::sax_parse(json.begin(), json.end(), &handler)) {
    return absl::InvalidArgumentError(handler.error());
  }
  SafeTensorsHeader header = handler.TakeHeader();
  const absl::Status status = CheckRanges(header, data_bytes);
  if (!status.ok()) return status;
  return header;
}

}  // namespace vit
