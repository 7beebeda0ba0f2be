#include "server/http/http_router.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "absl/strings/str_join.h"

namespace vit {
namespace {

// Takes the first segment, up to the next '/', from `path`.
std::string_view TakeSegment(std::string_view* path) {
  path->remove_prefix(1);
  const size_t end = std::min(path->find('/'), path->size());
  const std::string_view segment = path->substr(0, end);
  path->remove_prefix(end);
  return segment;
}

bool Fits(std::string_view pattern, std::string_view path,
          HttpFields* parameters) {
  while (!pattern.empty() && !path.empty()) {
    const std::string_view expected = TakeSegment(&pattern);
    const std::string_view found = TakeSegment(&path);
    if (expected.starts_with('{') && expected.ends_with('}')) {
      std::optional<std::string> value = PercentDecode(found);
      if (!value.has_value() || value->empty()) return false;
      parameters->emplace_back(expected.substr(1, expected.size() - 2),
                               *std::move(value));
    } else if (expected != found) {
      return false;
    }
  }
  return pattern.empty() && path.empty();
}

}  // namespace

std::optional<std::string> PercentDecode(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      decoded += text[i];
      continue;
    }
    unsigned char byte = 0;
    const char* const digits = text.data() + i + 1;
    if (i + 2 >= text.size() ||
        std::from_chars(digits, digits + 2, byte, 16).ptr != digits + 2) {
      return std::nullopt;
    }
    decoded += static_cast<char>(byte);
    i += 2;
  }
  return decoded;
}

HttpRouter::HttpRouter(std::vector<HttpRoute> routes)
    : routes_(std::move(routes)) {}

HttpRouter::Match HttpRouter::Find(std::string_view method,
                                   std::string_view path) const {
  Match match;
  const auto allow = [&match](std::string_view more) {
    if (!match.allow.empty()) match.allow += ", ";
    match.allow += more;
  };
  for (const HttpRoute& route : routes_) {
    HttpFields parameters;
    if (!Fits(route.path, path, &parameters)) continue;
    const bool is_get = route.method == "GET";
    if (route.method == method || (is_get && method == "HEAD")) {
      match.route = &route;
      match.parameters = std::move(parameters);
      return match;
    }
    allow(route.method);
    if (is_get) allow("HEAD");
  }
  return match;
}

std::string HttpRouter::Paths() const {
  std::vector<std::string> paths;
  for (const HttpRoute& route : routes_) {
    if (std::find(paths.begin(), paths.end(), route.path) == paths.end()) {
      paths.push_back(route.path);
    }
  }
  return absl::StrJoin(paths, ", ");
}

}  // namespace vit
