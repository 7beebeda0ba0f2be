#include "server/options/config_file.h"

#include <yaml-cpp/yaml.h>

#include <fstream>
#include <map>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace vit {
namespace {

// A file of every option takes 2 KB.
constexpr size_t kMaxBytes = size_t{1} << 20;

absl::StatusOr<std::string> ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxBytes + 1, '\0');
  if (file) file.read(text.data(), static_cast<std::streamsize>(text.size()));
  // A folder opens, but cannot be read.
  if (!file.is_open() || file.bad()) {
    return absl::NotFoundError(
        absl::StrCat("expected a file that can be read, found '", path, "'"));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": expected a file of at most ", kMaxBytes, " bytes"));
  }
  return text;
}

const char* TypeName(const YAML::Node& node) {
  if (node.IsMap()) return "a map";
  if (node.IsSequence()) return "a list";
  return node.IsScalar() ? "one value" : "nothing";
}

int LineOf(const YAML::Node& node) { return node.Mark().line + 1; }

// "FILE:LINE: expected WHAT, found a list".
absl::Status Unexpected(const std::string& where, const char* what,
                        const YAML::Node& node) {
  return absl::InvalidArgumentError(
      absl::StrCat(where, ": expected ", what, ", found ", TypeName(node)));
}

absl::StatusOr<std::vector<ConfigLine>> ReadMap(const std::string& path,
                                                const YAML::Node& map) {
  std::vector<ConfigLine> lines;
  std::map<std::string, int> first_lines;
  for (const auto& entry : map) {
    const YAML::Node& key = entry.first;
    const YAML::Node& value = entry.second;
    if (!key.IsScalar()) {
      return Unexpected(absl::StrCat(path, ":", LineOf(key)), "a key", key);
    }
    ConfigLine line;
    line.key = key.Scalar();
    line.line = LineOf(key);
    const auto [first, is_new] = first_lines.emplace(line.key, line.line);
    if (!is_new) {
      return absl::InvalidArgumentError(
          absl::StrCat(ConfigSource(path, line),
                       ": expected each key once, found it in line ",
                       first->second, " too"));
    }
    if (!value.IsScalar()) {
      return Unexpected(ConfigSource(path, line), "one value", value);
    }
    line.value = value.Scalar();
    // "!" is the tag of a quoted scalar.
    line.quoted = value.Tag() == "!";
    lines.push_back(line);
  }
  return lines;
}

}  // namespace

std::string ConfigSource(const std::string& path, const ConfigLine& line) {
  return absl::StrCat(path, ":", line.line, " key ",
                      absl::Utf8SafeCEscape(line.key));
}

absl::StatusOr<std::vector<ConfigLine>> ReadConfigFile(
    const std::string& path) {
  const absl::StatusOr<std::string> text = ReadText(path);
  if (!text.ok()) return text.status();
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(*text);
    if (documents.size() > 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ":", LineOf(documents[1]),
                       ": expected one YAML document, found another"));
    }
    // A file of nothing but comments.
    if (documents.empty() || documents[0].IsNull()) {
      return std::vector<ConfigLine>();
    }
    if (!documents[0].IsMap()) {
      return Unexpected(absl::StrCat(path, ":", LineOf(documents[0])),
                        "lines of NAME: VALUE", documents[0]);
    }
    return ReadMap(path, documents[0]);
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ":", error.mark.line + 1,
                     ": expected YAML, found an error: ", error.msg));
  }
}

}  // namespace vit
