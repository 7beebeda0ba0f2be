#include "server/models/labels_file.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vit {
namespace {

// Whether the text begins with one UTF-8 character, of how many bytes; 0 if
// not. A character must be written as short as it can be (RFC 3629).
size_t CharacterBytes(std::string_view text) {
  const auto first = static_cast<uint8_t>(text[0]);
  if (first < 0x80) return 1;
  const auto bytes = static_cast<size_t>(std::countl_one(first));
  if (bytes < 2 || bytes > 4 || text.size() < bytes) return 0;
  uint32_t code = first & (0x7fu >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    const auto next = static_cast<uint8_t>(text[i]);
    if ((next & 0xc0) != 0x80) return 0;
    code = code << 6 | (next & 0x3f);
  }
  constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
  const bool is_surrogate = code >= 0xd800 && code < 0xe000;
  return code < kLeast[bytes] || code > 0x10ffff || is_surrogate ? 0 : bytes;
}

// What a message of Protocol Buffers can carry as a string.
bool IsUtf8(std::string_view text) {
  while (!text.empty()) {
    const size_t bytes = CharacterBytes(text);
    if (bytes == 0) return false;
    text.remove_prefix(bytes);
  }
  return true;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> ReadLabels(const std::string& path,
                                                    size_t classes) {
  std::ifstream in(path);
  if (!in) {
    return absl::UnavailableError(
        absl::StrCat(path, ": cannot be read: ", std::strerror(errno)));
  }
  std::vector<std::string> labels;
  for (std::string line; std::getline(in, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty() || !IsUtf8(line)) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ": line ", labels.size() + 1, " is ",
          line.empty() ? "empty" : "not UTF-8", ", expected a label"));
    }
    labels.push_back(std::move(line));
    if (labels.size() > classes) break;  // wrong already
  }
  if (labels.size() == classes) return labels;
  return absl::InvalidArgumentError(absl::StrCat(
      path, ": found ", labels.size() > classes ? "more than " : "",
      std::min(labels.size(), classes), " labels, expected ", classes,
      ", one for each class"));
}

}  // namespace vit
