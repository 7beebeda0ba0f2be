#include "server/http/http_server.h"

#include <httplib.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>
#include <sys/socket.h>

#include <cstdlib>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vit {
namespace {

constexpr char kPlain[] = "text/plain; charset=utf-8";
// The version of the format is part of its content type.
constexpr char kMetrics[] = "text/plain; version=0.0.4; charset=utf-8";

constexpr int kThreads = 2;  // a scraper and a prober
constexpr int kTimeoutSeconds = 5;

}  // namespace

HttpServer::HttpServer(
    std::vector<std::shared_ptr<prometheus::Collectable>> collectables)
    : collectables_(std::move(collectables)),
      server_(std::make_unique<httplib::Server>()) {}

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    const std::string& address,
    std::vector<std::shared_ptr<prometheus::Collectable>> collectables) {
  std::unique_ptr<HttpServer> server(new HttpServer(std::move(collectables)));
  server->AddHandlers();
  server->port_ = server->Bind(address);
  if (server->port_ <= 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen for HTTP on ", address,
                     ": is the port taken or the host not this machine's?"));
  }
  server->listener_ =
      std::thread([raw = server.get()] { raw->server_->listen_after_bind(); });
  // Until it runs it cannot be stopped.
  while (!server->server_->is_running()) std::this_thread::yield();
  return server;
}

HttpServer::~HttpServer() {
  if (!listener_.joinable()) return;
  server_->stop();
  listener_.join();
}

int HttpServer::Bind(const std::string& address) {
  const size_t colon = address.rfind(':');
  std::string host = address.substr(0, colon);
  const int port = std::atoi(address.substr(colon + 1).c_str());
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  }
  if (port == 0) return server_->bind_to_any_port(host);
  return server_->bind_to_port(host, port) ? port : 0;
}

void HttpServer::AddHandlers() {
  // The server takes ownership.
  server_->new_task_queue = [] { return new httplib::ThreadPool(kThreads); };
  server_->set_read_timeout(kTimeoutSeconds);
  server_->set_write_timeout(kTimeoutSeconds);
  // One request a connection, so that an idle client holds no thread.
  server_->set_keep_alive_max_count(1);
  // A port that another process listens on is an error, not a share of it.
  server_->set_socket_options([](auto socket) {
    const int on = 1;
    setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  });

  server_->Get("/metrics", [this](const httplib::Request& /*request*/,
                                  httplib::Response& response) {
    std::vector<prometheus::MetricFamily> families;
    for (const auto& collectable : collectables_) {
      std::vector<prometheus::MetricFamily> more = collectable->Collect();
      families.insert(families.end(), std::make_move_iterator(more.begin()),
                      std::make_move_iterator(more.end()));
    }
    response.set_content(prometheus::TextSerializer().Serialize(families),
                         kMetrics);
  });
  server_->Get("/healthz", [](const httplib::Request& /*request*/,
                              httplib::Response& response) {
    response.set_content("alive\n", kPlain);
  });
  server_->Get("/readyz", [this](const httplib::Request& /*request*/,
                                 httplib::Response& response) {
    if (ready_.load()) {
      response.set_content("ready\n", kPlain);
    } else {
      response.status = 503;
      response.set_content("not ready: starting or shutting down\n", kPlain);
    }
  });
}

}  // namespace vit
