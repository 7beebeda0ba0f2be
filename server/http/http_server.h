#ifndef MNIST_VIT_SERVER_HTTP_HTTP_SERVER_H_
#define MNIST_VIT_SERVER_HTTP_HTTP_SERVER_H_

#include <prometheus/collectable.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"

namespace httplib {
class Server;
}

namespace vit {

// Serves metrics and probes over HTTP:
//   /metrics  what the collectables hold, in Prometheus' text format
//   /healthz  200 as long as the process answers
//   /readyz   200 when SetReady(true) was called last, else 503
//
// Thread-safe.
class HttpServer {
 public:
  // Listens on host:port; port 0 picks a free one. Unavailable if the address
  // cannot be listened on.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(
      const std::string& address,
      std::vector<std::shared_ptr<prometheus::Collectable>> collectables);

  // Waits for the requests under way, and stops.
  ~HttpServer();

  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // The port that it listens on.
  int port() const { return port_; }

  // Not ready at first.
  void SetReady(bool ready) { ready_.store(ready); }

 private:
  explicit HttpServer(
      std::vector<std::shared_ptr<prometheus::Collectable>> collectables);

  void AddHandlers();
  // Binds; zero or less if that fails.
  int Bind(const std::string& address);

  const std::vector<std::shared_ptr<prometheus::Collectable>> collectables_;
  std::unique_ptr<httplib::Server> server_;
  int port_ = 0;
  std::atomic<bool> ready_{false};
  std::thread listener_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_HTTP_HTTP_SERVER_H_
