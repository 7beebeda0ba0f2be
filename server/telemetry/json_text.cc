#include "server/telemetry/json_text.h"

#include <cstddef>
#include <cstdint>

#include "absl/strings/str_format.h"

namespace vit {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

// The length of the UTF-8 sequence that begins with this byte; 0 if none does.
size_t SequenceLength(uint8_t first) {
  if (first < 0x80) return 1;
  if (first < 0xC2) return 0;  // inside another, or longer than need be
  if (first < 0xE0) return 2;
  if (first < 0xF0) return 3;
  return first < 0xF5 ? 4 : 0;
}

// The lowest and the highest second byte: not longer than need be, no
// surrogate, not beyond U+10FFFF.
bool IsSecond(uint8_t first, uint8_t second) {
  const uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  return second >= low && second <= high;
}

// The length of the character that `text` begins with; 0 if it is none.
size_t CharacterLength(std::string_view text) {
  const auto byte = [text](size_t i) { return static_cast<uint8_t>(text[i]); };
  const size_t length = SequenceLength(byte(0));
  if (length > text.size()) return 0;
  if (length > 1 && !IsSecond(byte(0), byte(1))) return 0;
  for (size_t i = 2; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  return length;
}

void AppendAscii(char c, std::string* json) {
  if (c == '"' || c == '\\') {
    json->push_back('\\');
    json->push_back(c);
  } else if (c == '\n') {
    json->append("\\n");
  } else if (static_cast<uint8_t>(c) < ' ' || c == '\x7F') {
    absl::StrAppendFormat(json, "\\u%04x", static_cast<uint8_t>(c));
  } else {
    json->push_back(c);
  }
}

}  // namespace

void AppendJsonString(std::string_view text, std::string* json) {
  json->push_back('"');
  while (!text.empty()) {
    const size_t length = CharacterLength(text);
    if (length == 1) {
      AppendAscii(text.front(), json);
    } else {
      json->append(length == 0 ? kReplacement : text.substr(0, length));
    }
    text.remove_prefix(length == 0 ? 1 : length);
  }
  json->push_back('"');
}

}  // namespace vit
