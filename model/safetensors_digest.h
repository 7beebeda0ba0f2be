#ifndef MNIST_VIT_MODEL_SAFETENSORS_DIGEST_H_
#define MNIST_VIT_MODEL_SAFETENSORS_DIGEST_H_

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace vit {

// A safetensors file can hold its own digest, so that damage is found: its
// metadata then have "sha256", 64 lower-case hexadecimal digits, the SHA-256 of
// the whole file as it is with 64 zeros ('0') in their place. Header and data
// are covered, and the file stays one that every reader of the format reads.
// model/training/digest.py writes it.
inline constexpr std::string_view kDigestKey = "sha256";

// The SHA-256, 64 hexadecimal digits, that identifies a file: the one that it
// holds, checked; or that of all its bytes, if it holds none.
//
// `header` is the part of `file` that is its JSON, `metadata` what stands there
// under "__metadata__".
//
// DataLoss if the file holds a digest and its bytes give another one.
// InvalidArgument if the digest is not 64 digits that stand once in the header,
// or if there is none under "sha256" while another key holds 64 hexadecimal
// digits: then the key itself is damaged, and the file must not pass as one
// that never had a digest. Internal if libcrypto fails.
absl::StatusOr<std::string> CheckedDigest(
    std::span<const uint8_t> file, std::span<const uint8_t> header,
    const std::map<std::string, std::string>& metadata);

}  // namespace vit

#endif  // MNIST_VIT_MODEL_SAFETENSORS_DIGEST_H_
