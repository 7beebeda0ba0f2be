#ifndef MNIST_VIT_SERVER_HTTP_HTTP_SERVER_H_
#define MNIST_VIT_SERVER_HTTP_HTTP_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/http/http_limits.h"
#include "server/http/http_router.h"

namespace vit {

// Serves HTTP/1.1 and 1.0 on one thread of its own, which waits for all
// connections at once: a slow peer holds a connection, never the thread. What
// a peer can take is bounded by HttpLimits. What it can't have is refused with
// a text that says what was wrong and what is expected:
//
//   400  malformed, or no Host         431  header too large
//   404  no such path                  500  the handler threw or dropped it
//   405  no such method at that path   501  Transfer-Encoding is not chunked
//   408  too slow                      503  too much at once, or stopping
//   413  body too large                504  the handler took too long
//   417  unknown Expect
//
// Refused before its end, a request costs its connection. A connection serves
// one request after another; what is sent ahead waits.
//
// Thread-safe.
class HttpServer {
 public:
  // Listens on "host:port", "[v6]:port" (port 0 picks a free one) or
  // "unix:/path". InvalidArgument if the address has another form, Unavailable
  // if it cannot be listened on.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(
      const std::string& address, std::vector<HttpRoute> routes,
      HttpLimits limits = {});

  // Stops listening, closes the connections that wait, answers those whose
  // requests are being handled with 503, and gives answers that are being sent
  // one second. Responders may outlive the server.
  ~HttpServer();

  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // The port that it listens on; 0 for a Unix socket.
  int port() const;
  // As it was given, with the port that was picked.
  const std::string& address() const;
  // How many connections are open.
  int connections() const;

 private:
  class Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);

  const std::unique_ptr<Impl> impl_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_HTTP_HTTP_SERVER_H_
