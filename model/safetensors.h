#ifndef MNIST_VIT_MODEL_SAFETENSORS_H_
#define MNIST_VIT_MODEL_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/safetensors_header.h"

namespace vit {

// A safetensors file (https://github.com/huggingface/safetensors), read into
// memory and checked whole before any of it is used:
//
//   8 bytes: N, the header's length, little-endian
//   N bytes: JSON: {"NAME": {"dtype", "shape", "data_offsets"}, ...}
//   the rest: the tensors' values, back to back, little-endian, row-major
//
// The file may come from anyone: a malformed one gives InvalidArgument, naming
// the tensor, what was found and what was expected; never undefined behaviour.
// A file that holds its own digest (model/safetensors_digest.h) and was damaged
// since is refused: DataLoss if only the digest finds it.
// Immutable once made, so safe to read from several threads.
class SafeTensors {
 public:
  // NotFound or Unavailable if the file cannot be read. Errors start with the
  // path.
  static absl::StatusOr<SafeTensors> Load(const std::string& path);

  // Reads a whole file's bytes. They are copied.
  static absl::StatusOr<SafeTensors> Parse(std::span<const uint8_t> file);

  // By name.
  const std::map<std::string, TensorEntry>& tensors() const {
    return header_.tensors;
  }
  // The file's own notes: the strings under "__metadata__".
  const std::map<std::string, std::string>& metadata() const {
    return header_.metadata;
  }
  // The SHA-256 that identifies the file, 64 hexadecimal digits: CheckedDigest.
  const std::string& digest() const { return digest_; }

  // A copy of one tensor's values. T is float (F32), uint8_t (U8) or int64_t
  // (I64). NotFound if there is no such tensor; InvalidArgument if its dtype is
  // another. Copied, because the format does not promise alignment.
  template <typename T>
  absl::StatusOr<std::vector<T>> Values(const std::string& name) const;

 private:
  SafeTensors(SafeTensorsHeader header, std::vector<uint8_t> data,
              std::string digest)
      : header_(std::move(header)),
        data_(std::move(data)),
        digest_(std::move(digest)) {}

  SafeTensorsHeader header_;
  std::vector<uint8_t> data_;  // what follows the header
  std::string digest_;
};

}  // namespace vit

#endif  // MNIST_VIT_MODEL_SAFETENSORS_H_
