#ifndef MNIST_VIT_SERVER_HTTP_HTTP_ROUTER_H_
#define MNIST_VIT_SERVER_HTTP_HTTP_ROUTER_H_

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "server/http/http_message.h"
#include "server/http/http_responder.h"

namespace vit {

// Called on the server's only thread, so it must not block: it answers at once
// or hands the responder to another thread. If it throws, the peer gets 500,
// or 503 for want of memory.
using HttpHandler =
    std::function<void(HttpRequest request, HttpResponder respond)>;

struct HttpRoute {
  // A route for GET answers HEAD too, with the body left out.
  std::string method;
  // Such as "/v2/models/{model}/infer", where {model} stands for one segment
  // that is not empty. The first route that fits is taken.
  std::string path;
  HttpHandler handler = {};
  // Larger bodies are refused with 413 before they are read. By default any
  // body is too large.
  size_t max_body_bytes = 0;
  // The handler answers before it returns, so the server calls it even when
  // max_requests are under way.
  bool is_probe = false;
};

// Finds routes; immutable, so thread-safe.
class HttpRouter {
 public:
  struct Match {
    const HttpRoute* route = nullptr;  // the router's
    HttpFields parameters;
    // The methods that the path has, such as "GET, HEAD"; empty if no route
    // has the path.
    std::string allow;
  };

  explicit HttpRouter(std::vector<HttpRoute> routes);

  // `path` as it was sent, without a query.
  Match Find(std::string_view method, std::string_view path) const;

  // All paths, for messages.
  std::string Paths() const;

 private:
  std::vector<HttpRoute> routes_;
};

// The text with its %XX decoded; nothing if one is malformed.
std::optional<std::string> PercentDecode(std::string_view text);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_HTTP_HTTP_ROUTER_H_
