#ifndef MNIST_VIT_SERVER_HTTP_HTTP_MESSAGE_H_
#define MNIST_VIT_SERVER_HTTP_HTTP_MESSAGE_H_

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vit {

// Names and values, in the order in which they came.
using HttpFields = std::vector<std::pair<std::string, std::string>>;

// A whole request. Plain values: whoever has it owns all of it.
struct HttpRequest {
  std::string method;
  // As it was sent, without the query, not decoded; starts with '/'.
  std::string path;
  // What follows the first '?', not decoded.
  std::string query;
  // What the route's {name} segments stood for, percent-decoded.
  HttpFields parameters;
  HttpFields headers;
  std::string body;
  // Who asks, such as "127.0.0.1:40000", "[::1]:40000" or "unix".
  std::string peer;
  // Whether the peer is on this machine: a loopback address or a Unix socket.
  bool peer_is_local = false;

  // The first header of that name, in any case; empty if there is none.
  std::string_view Header(std::string_view name) const;
  // Empty if the route has no such segment.
  std::string_view Parameter(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body = {};
  // Sent instead of `body` if set: one text that many answers share.
  std::shared_ptr<const std::string> shared_body = {};
  // Besides Content-Type, Content-Length, Connection and Date, which the
  // server writes. Control characters in them are sent as spaces.
  HttpFields headers = {};

  const std::string& content() const {
    return shared_body != nullptr ? *shared_body : body;
  }
};

// The status line and the headers, up to the empty line.
std::string SerializeHead(const HttpResponse& response, bool keep_alive);

// Such as "Not Found" for 404.
std::string_view ReasonPhrase(int status);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_HTTP_HTTP_MESSAGE_H_
