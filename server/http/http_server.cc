#include "server/http/http_server.h"

#include <pthread.h>

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/base/listening_socket.h"
#include "server/http/http_connection_table.h"
#include "server/http/http_mailbox.h"

namespace vit {
namespace {

namespace asio = boost::asio;
using Protocol = asio::generic::stream_protocol;

// How long it leaves the listening socket alone when the process is out of
// descriptors or memory. The connections to come wait in the kernel.
constexpr std::chrono::milliseconds kAcceptBackoff{50};

// What is being sent at the end gets so long.
constexpr std::chrono::seconds kStopGrace{1};

// Errors of one connection that was gone before it was accepted. After any
// other error accepting at once would fail again.
bool IsOfOneConnection(const boost::system::error_code& error) {
  return error == asio::error::connection_aborted ||
         error == asio::error::connection_reset ||
         error == boost::system::errc::protocol_error;
}

}  // namespace

class HttpServer::Impl {
 public:
  Impl(ListeningSocket listening, std::vector<HttpRoute> routes,
       const HttpLimits& limits)
      : listening_(std::move(listening)),
        io_(1),
        work_(io_.get_executor()),
        mailbox_(std::make_shared<HttpMailbox>(&io_)),
        table_(limits, std::move(routes), mailbox_),
        acceptor_(io_),
        backoff_(io_) {
    acceptor_.assign(Protocol(listening_.family(), 0), listening_.Release());
    thread_ = std::thread([this] { Loop(); });
    pthread_setname_np(thread_.native_handle(), "http");
  }

  ~Impl() {
    try {
      // Behind the answers that were handed over before.
      mailbox_->Post([this] { StopLoop(); });
    } catch (...) {
      StopLoop();
    }
    thread_.join();
    mailbox_->Close();
  }

  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  const ListeningSocket& listening() const { return listening_; }
  int connections() const { return table_.size(); }

 private:
  void Loop() {
    while (!stopping_.load()) {
      Guard([this] {
        if (!is_accepting_) Accept();
        io_.run();
      });
    }
    Guard([this] { End(); });
    table_.CloseAll();
    Guard([this] {
      io_.restart();
      io_.poll();
    });
  }

  // Handlers catch their own exceptions. One that gets here comes of Asio, for
  // want of memory, and the connection that it concerned runs into its
  // timeout.
  template <typename Work>
  void Guard(Work work) noexcept {
    try {
      work();
    } catch (...) {
      std::this_thread::sleep_for(kAcceptBackoff);
    }
  }

  void Accept() {
    acceptor_.async_accept(
        [this](const boost::system::error_code& error, Protocol::socket peer) {
          is_accepting_ = false;
          OnAccept(error, std::move(peer));
        });
    is_accepting_ = true;
  }

  void OnAccept(const boost::system::error_code& error, Protocol::socket peer) {
    if (error == asio::error::operation_aborted) return;
    if (!error) table_.Add(std::move(peer));
    if (!error || IsOfOneConnection(error)) return Accept();
    // Gives a descriptor back, so that probes get in even if peers hold all
    // that there are.
    table_.CloseOldest();
    backoff_.expires_after(kAcceptBackoff);
    backoff_.async_wait([this](const boost::system::error_code& cancelled) {
      is_accepting_ = false;
      if (!cancelled) Accept();
    });
    is_accepting_ = true;
  }

  void StopLoop() {
    stopping_.store(true);
    io_.stop();
  }

  void End() {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    backoff_.cancel();
    table_.Stop();
    work_.reset();
    io_.restart();
    io_.run_for(kStopGrace);
  }

  ListeningSocket listening_;
  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  const std::shared_ptr<HttpMailbox> mailbox_;
  HttpConnectionTable table_;
  asio::basic_socket_acceptor<Protocol> acceptor_;
  asio::steady_timer backoff_;
  // Whether an accept is under way, or a timer that leads to one.
  bool is_accepting_ = false;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

HttpServer::~HttpServer() = default;

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    const std::string& address, std::vector<HttpRoute> routes,
    HttpLimits limits) {
  absl::StatusOr<ListeningSocket> listening =
      ListeningSocket::Open(address, "HTTP");
  if (!listening.ok()) return listening.status();
  try {
    return std::unique_ptr<HttpServer>(new HttpServer(std::make_unique<Impl>(
        *std::move(listening), std::move(routes), limits)));
  } catch (const std::exception& error) {
    return absl::UnavailableError(absl::StrCat("cannot listen for HTTP on ",
                                               address, ": ", error.what()));
  }
}

int HttpServer::port() const { return impl_->listening().port(); }

const std::string& HttpServer::address() const {
  return impl_->listening().address();
}

int HttpServer::connections() const { return impl_->connections(); }

}  // namespace vit
