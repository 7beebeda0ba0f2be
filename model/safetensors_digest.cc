#include "model/safetensors_digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <initializer_list>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vit {
namespace {

constexpr size_t kDigestBytes = 32;
constexpr size_t kDigestDigits = 2 * kDigestBytes;
constexpr std::string_view kLowerDigits = "0123456789abcdef";

bool IsDigest(std::string_view text, std::string_view digits) {
  return text.size() == kDigestDigits &&
         text.find_first_not_of(digits) == std::string_view::npos;
}

std::string Hex(std::span<const uint8_t> bytes) {
  std::string text;
  for (const uint8_t byte : bytes) {
    text.push_back(kLowerDigits[byte >> 4]);
    text.push_back(kLowerDigits[byte & 15]);
  }
  return text;
}

// The SHA-256 of the parts one after another.
absl::StatusOr<std::string> Sha256(
    std::initializer_list<std::span<const uint8_t>> parts) {
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(
      EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  bool ok = context != nullptr &&
            EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1;
  for (const std::span<const uint8_t> part : parts) {
    ok = ok && EVP_DigestUpdate(context.get(), part.data(), part.size()) == 1;
  }
  std::array<uint8_t, kDigestBytes> digest = {};
  ok = ok && EVP_DigestFinal_ex(context.get(), digest.data(), nullptr) == 1;
  if (!ok) return absl::InternalError("libcrypto cannot compute a SHA-256");
  return Hex(digest);
}

// Where the digits stand in the header: once, or nothing is certain.
absl::StatusOr<size_t> PlaceOf(std::string_view digits,
                               std::span<const uint8_t> header) {
  const std::string_view text(reinterpret_cast<const char*>(header.data()),
                              header.size());
  const size_t place = text.find(digits);
  if (place != std::string_view::npos &&
      text.find(digits, place + 1) == std::string_view::npos) {
    return place;
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "metadata \"", std::string(kDigestKey), "\": its digits stand ",
      place == std::string_view::npos ? "nowhere" : "twice",
      " in the header, expected once and unescaped"));
}

// A file without a digest must not look as if it had had one.
absl::Status CheckNoTrace(const std::map<std::string, std::string>& metadata) {
  for (const auto& [key, value] : metadata) {
    if (IsDigest(value, "0123456789abcdefABCDEF")) {
      return absl::InvalidArgumentError(absl::StrCat(
          "metadata \"", key,
          "\": holds 64 hexadecimal digits, a digest, "
          "but no key is \"",
          std::string(kDigestKey),
          "\": the header is damaged, or the file wants a digest of its own "
          "(model/training/digest.py)"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> CheckedDigest(
    std::span<const uint8_t> file, std::span<const uint8_t> header,
    const std::map<std::string, std::string>& metadata) {
  const auto stated = metadata.find(std::string(kDigestKey));
  if (stated == metadata.end()) {
    absl::Status status = CheckNoTrace(metadata);
    if (!status.ok()) return status;
    return Sha256({file});
  }
  const std::string& expected = stated->second;
  if (!IsDigest(expected, kLowerDigits)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "metadata \"", std::string(kDigestKey), "\": found \"", expected,
        "\", expected 64 lower-case hexadecimal digits"));
  }
  const absl::StatusOr<size_t> in_header = PlaceOf(expected, header);
  if (!in_header.ok()) return in_header.status();
  const size_t place =
      static_cast<size_t>(header.data() - file.data()) + *in_header;
  std::array<uint8_t, kDigestDigits> zeros;
  zeros.fill('0');
  absl::StatusOr<std::string> found =
      Sha256({file.first(place), zeros, file.subspan(place + kDigestDigits)});
  if (!found.ok() || *found == expected) return found;
  return absl::DataLossError(
      absl::StrCat("the file is damaged: its SHA-256 is ", *found,
                   ", expected ", expected, ", as its metadata say"));
}

}  // namespace vit
