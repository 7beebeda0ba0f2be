#ifndef MNIST_VIT_MODEL_SAFETENSORS_HEADER_H_
#define MNIST_VIT_MODEL_SAFETENSORS_HEADER_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace vit {

// What a safetensors header says of one tensor.
struct TensorEntry {
  std::string dtype;           // "F32", "U8", "I64", ...
  std::vector<int64_t> shape;  // empty for a single value
  // The values' place, counted in bytes from the end of the header.
  int64_t begin = 0;
  int64_t end = 0;
};

struct SafeTensorsHeader {
  std::map<std::string, TensorEntry> tensors;  // by name
  std::map<std::string, std::string> metadata;
};

// "[2, 3]", for messages.
std::string ShapeToString(std::span<const int64_t> shape);

// Parses a safetensors header, and checks that the tensors' byte ranges agree
// with their shapes and cover 0 to data_bytes once each, without hole or
// overlap. InvalidArgument, naming the tensor, if not.
absl::StatusOr<SafeTensorsHeader> ParseSafeTensorsHeader(
    std::span<const uint8_t> json, int64_t data_bytes);

}  // namespace vit

#endif  // MNIST_VIT_MODEL_SAFETENSORS_HEADER_H_
