#include "server/http/http_header.h"

#include <algorithm>
#include <boost/beast/http/field.hpp>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace vit {
namespace {

namespace http = boost::beast::http;

std::string ToString(boost::beast::string_view text) {
  return {text.data(), text.size()};
}

// What a peer sent, for a message to it.
std::string Shortened(std::string_view text) {
  constexpr size_t kMost = 100;
  if (text.size() <= kMost) return std::string(text);
  return std::string(text.substr(0, kMost)) + "...";
}

// The path and query of "/path?query" or "http://host/path?query"; false if it
// is neither.
bool SplitTarget(std::string_view target, HttpRequest* request) {
  for (const std::string_view scheme : {"http://", "https://"}) {
    if (!target.starts_with(scheme)) continue;
    target.remove_prefix(scheme.size());
    target.remove_prefix(std::min(target.find_first_of("/?"), target.size()));
    if (!target.starts_with('/')) {
      request->path = "/";
      request->query = target.substr(std::min<size_t>(1, target.size()));
      return true;
    }
  }
  if (!target.starts_with('/')) return false;
  const size_t mark = std::min(target.find('?'), target.size());
  request->path = target.substr(0, mark);
  request->query = target.substr(std::min(mark + 1, target.size()));
  return true;
}

HttpRefusal Malformed(std::string text) {
  return {.status = 400, .text = std::move(text)};
}

std::optional<HttpRefusal> CheckHost(const HttpParser& parser) {
  const size_t hosts = parser.get().count(http::field::host);
  const bool is_optional = parser.get().version() < 11;
  if (hosts == 1 || (hosts == 0 && is_optional)) return std::nullopt;
  return Malformed(
      absl::StrCat("expected one Host header, found ", hosts, "\n"));
}

// Where a body ends must be beyond doubt, or a peer smuggles a request past
// whoever stands in front. The parser has refused what contradicts itself.
std::optional<HttpRefusal> CheckTransferEncoding(const HttpParser& parser) {
  if (parser.get().count(http::field::transfer_encoding) == 0) {
    return std::nullopt;
  }
  if (parser.get().version() < 11) {
    return Malformed("HTTP/1.0 has no Transfer-Encoding\n");
  }
  if (parser.chunked()) return std::nullopt;
  return HttpRefusal{.status = 501,
                     .text = "Transfer-Encoding: expected chunked\n"};
}

std::optional<HttpRefusal> FindRoute(const HttpRouter& router,
                                     HttpRequest* request,
                                     const HttpRoute** route) {
  HttpRouter::Match match = router.Find(request->method, request->path);
  *route = match.route;
  request->parameters = std::move(match.parameters);
  if (match.route != nullptr) return std::nullopt;
  if (match.allow.empty()) {
    return HttpRefusal{
        .status = 404,
        .text = absl::StrCat("no such path: ", Shortened(request->path),
                             "; expected one of ", router.Paths(), "\n")};
  }
  return HttpRefusal{.status = 405,
                     .text = absl::StrCat(Shortened(request->path), " has no ",
                                          Shortened(request->method),
                                          "; expected ", match.allow, "\n"),
                     .headers = {{"Allow", match.allow}}};
}

std::optional<HttpRefusal> CheckLength(const HttpParser& parser,
                                       const HttpRoute& route) {
  const uint64_t length = parser.content_length().value_or(0);
  if (length <= route.max_body_bytes) return std::nullopt;
  return HttpRefusal{.status = 413,
                     .text = absl::StrCat(
                         "the body is too large: expected at most ",
                         route.max_body_bytes, " bytes, found ", length, "\n")};
}

std::optional<HttpRefusal> CheckExpectation(const HttpParser& parser) {
  const auto expectation = parser.get().find(http::field::expect);
  if (expectation == parser.get().end()) return std::nullopt;
  const std::string value = ToString(expectation->value());
  if (absl::EqualsIgnoreCase(value, "100-continue")) return std::nullopt;
  return HttpRefusal{.status = 417,
                     .text = absl::StrCat("Expect: expected 100-continue, "
                                          "found ",
                                          Shortened(value), "\n")};
}

}  // namespace

std::optional<HttpRefusal> TakeHeader(const HttpParser& parser,
                                      const HttpRouter& router,
                                      HttpRequest* request,
                                      const HttpRoute** route) {
  const auto& message = parser.get();
  if (auto refusal = CheckHost(parser)) return refusal;
  if (auto refusal = CheckTransferEncoding(parser)) return refusal;
  request->method = ToString(message.method_string());
  const std::string target = ToString(message.target());
  if (!SplitTarget(target, request)) {
    return Malformed(
        absl::StrCat("expected a path that starts with '/', found ",
                     Shortened(target), "\n"));
  }
  if (auto refusal = FindRoute(router, request, route)) return refusal;
  if (auto refusal = CheckLength(parser, **route)) return refusal;
  if (auto refusal = CheckExpectation(parser)) return refusal;
  for (const auto& field : message) {
    request->headers.emplace_back(ToString(field.name_string()),
                                  ToString(field.value()));
  }
  return std::nullopt;
}

}  // namespace vit
