#include "server/rpc/request_id.h"

#include <openssl/rand.h>

#include <algorithm>

#include "absl/strings/escaping.h"

namespace vit {
namespace {

bool IsPrintable(char c) { return c >= ' ' && c <= '~'; }

bool IsLowerHex(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
}

bool IsZero(std::string_view text) {
  return text.find_first_not_of('0') == std::string_view::npos;
}

}  // namespace

std::string_view ValidRequestId(std::string_view header) {
  const bool valid = header.size() <= kMaxRequestIdLength &&
                     std::all_of(header.begin(), header.end(), IsPrintable);
  return valid ? header : std::string_view();
}

std::string NewRequestId() {
  std::string bytes(16, '\0');
  RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()),
             static_cast<int>(bytes.size()));
  return absl::BytesToHexString(bytes);
}

// VERSION-TRACE-PARENT-FLAGS, of 2, 32, 16 and 2 digits. Version 0 ends there;
// later ones may go on after another dash.
std::string_view TraceIdOf(std::string_view traceparent) {
  constexpr size_t kLength = 55;
  constexpr size_t kMaxLength = 256;
  if (traceparent.size() < kLength || traceparent.size() > kMaxLength) {
    return {};
  }
  const std::string_view version = traceparent.substr(0, 2);
  const std::string_view trace = traceparent.substr(3, 32);
  const std::string_view parent = traceparent.substr(36, 16);
  const std::string_view flags = traceparent.substr(53, 2);
  const bool has_dashes =
      traceparent[2] == '-' && traceparent[35] == '-' && traceparent[52] == '-';
  const bool ends_well = traceparent.size() == kLength ||
                         (version != "00" && traceparent[kLength] == '-');
  const bool is_hex = IsLowerHex(version) && IsLowerHex(trace) &&
                      IsLowerHex(parent) && IsLowerHex(flags);
  if (!has_dashes || !ends_well || !is_hex || version == "ff" ||
      IsZero(trace) || IsZero(parent)) {
    return {};
  }
  return trace;
}

}  // namespace vit
