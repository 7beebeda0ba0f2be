#include "server/http/http_message.h"

#include <algorithm>
#include <array>
#include <ctime>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace vit {
namespace {

constexpr auto kReasons = std::to_array<std::pair<int, std::string_view>>({
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {413, "Content Too Large"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {499, "Client Closed Request"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
});

// A line break inside a header would let its author write further headers.
std::string WithoutControls(std::string_view text) {
  std::string clean(text);
  std::replace_if(
      clean.begin(), clean.end(),
      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; },
      ' ');
  return clean;
}

// The time in the form of RFC 9110, section 5.6.7.
std::string HttpDate() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::array<char, 64> text;
  // The process keeps the locale "C", so the names are English.
  const size_t size = std::strftime(text.data(), text.size(),
                                    "%a, %d %b %Y %H:%M:%S GMT", &utc);
  return {text.data(), size};
}

std::string_view Find(const HttpFields& fields, std::string_view name,
                      bool (*equal)(std::string_view, std::string_view)) {
  for (const auto& [key, value] : fields) {
    if (equal(key, name)) return value;
  }
  return {};
}

}  // namespace

std::string_view HttpRequest::Header(std::string_view name) const {
  return Find(headers, name, [](std::string_view a, std::string_view b) {
    // Debian 12's absl::string_view is a type of its own.
    return absl::EqualsIgnoreCase({a.data(), a.size()}, {b.data(), b.size()});
  });
}

std::string_view HttpRequest::Parameter(std::string_view name) const {
  return Find(parameters, name,
              [](std::string_view a, std::string_view b) { return a == b; });
}

std::string_view ReasonPhrase(int status) {
  for (const auto& [code, reason] : kReasons) {
    if (code == status) return reason;
  }
  return "Unknown";
}

std::string SerializeHead(const HttpResponse& response, bool keep_alive) {
  std::string head = absl::StrCat(
      "HTTP/1.1 ", response.status, " ",
      std::string(ReasonPhrase(response.status)), "\r\nDate: ", HttpDate(),
      "\r\nConnection: ", keep_alive ? "keep-alive" : "close",
      "\r\nX-Content-Type-Options: nosniff\r\n");
  // An answer without content must not state a length (RFC 9110, 8.6).
  if (response.status != 204) {
    absl::StrAppend(&head,
                    "Content-Type: ", WithoutControls(response.content_type),
                    "\r\nContent-Length: ", response.content().size(), "\r\n");
  }
  for (const auto& [name, value] : response.headers) {
    absl::StrAppend(&head, WithoutControls(name), ": ", WithoutControls(value),
                    "\r\n");
  }
  return head += "\r\n";
}

}  // namespace vit
