#include "server/http/http_connection.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/error.hpp>
#include <cstdint>
#include <limits>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/http/peer_name.h"

namespace vit {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;

// Most requests fit in the first; a body comes in larger pieces.
constexpr size_t kHeaderReadBytes = 1 << 10;
constexpr size_t kBodyReadBytes = 16 << 10;

// After an error the peer may still be sending, and closing at once would make
// its kernel throw away the answer. So this much more is read and thrown away.
constexpr size_t kMostLingerBytes = 1 << 20;
constexpr std::chrono::seconds kLingerTime{1};

constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

}  // namespace

auto HttpConnection::Then(Step step) {
  return [self = shared_from_this(), step, epoch = epoch_](ErrorCode error,
                                                           size_t bytes) {
    if (epoch != self->epoch_) return;
    self->Run([&] { (self.get()->*step)(error, bytes); });
  };
}

template <typename Work>
void HttpConnection::Run(Work work) noexcept {
  try {
    work();
  } catch (const std::bad_alloc&) {
    Fail(503);
  } catch (...) {
    Fail(500);
  }
}

void HttpConnection::Fail(int status) noexcept {
  if (phase_ >= Phase::kWriting) {
    Close();
  } else {
    Refuse(status, status == 503 ? "out of memory\n" : "internal error\n");
  }
}

HttpConnection::HttpConnection(Socket socket, HttpConnectionTable* table)
    : table_(table),
      limits_(table->limits()),
      socket_(std::move(socket)),
      timer_(socket_.get_executor()),
      // So large that what a header may have fits, and no larger.
      input_(std::max(limits_.max_header_bytes, kHeaderReadBytes)) {
  PeerName peer = PeerOf(socket_.native_handle());
  peer_ = std::move(peer.text);
  peer_is_local_ = peer.is_local;
  // Small answers go out at once. Fails on Unix sockets, which never wait.
  const int on = 1;
  setsockopt(socket_.native_handle(), IPPROTO_TCP, TCP_NODELAY, &on,
             sizeof(on));
}

void HttpConnection::Start() {
  Run([this] { StartRequest(); });
}

void HttpConnection::StartRequest() {
  const bool is_first = number_++ == 0;
  parser_.emplace();
  // The parser's own limit does not do alone: in Boost 1.74 it is for what is
  // not parsed yet, so that a peer who cuts its packets well could send headers
  // for ever. See ParseHeader.
  parser_->header_limit(static_cast<uint32_t>(input_.max_size()));
  // TakeHeader looks at the length, and sets the route's limit.
  parser_->body_limit(std::numeric_limits<uint64_t>::max());
  header_bytes_ = 0;
  route_ = nullptr;
  request_ = {};
  is_head_ = false;
  all_read_ = false;
  table_->Move(this, HttpConnectionTable::kWaiting);
  if (input_.size() > 0) {  // sent ahead
    phase_ = Phase::kHeader;
    SetTimer(limits_.header_timeout);
    Parse();
    return;
  }
  input_.shrink_to_fit();  // hold little while nothing comes
  // A peer owes its first request, so it has no time to be idle.
  phase_ = is_first ? Phase::kHeader : Phase::kIdle;
  SetTimer(is_first ? limits_.header_timeout : limits_.idle_timeout);
  ReadSome();
}

void HttpConnection::ReadSome() {
  const size_t room = input_.max_size() - input_.size();
  const size_t wanted = phase_ == Phase::kBody
                            ? kBodyReadBytes
                            : std::max(kHeaderReadBytes, input_.size());
  socket_.async_read_some(input_.prepare(std::min(room, wanted)),
                          Then(&HttpConnection::OnRead));
}

void HttpConnection::OnRead(ErrorCode error, size_t bytes) {
  if (error) return Close();
  input_.commit(bytes);
  if (phase_ == Phase::kIdle) {
    phase_ = Phase::kHeader;
    SetTimer(limits_.header_timeout);
  }
  Parse();
}

void HttpConnection::Parse() {
  ErrorCode error;
  const size_t used = parser_->put(input_.data(), error);
  input_.consume(used);
  if (error == http::error::need_more) error = {};
  if (phase_ == Phase::kBody) return ParseBody(error);
  ParseHeader(error, used);
}

void HttpConnection::ParseHeader(ErrorCode error, size_t used) {
  header_bytes_ += used;
  const bool done = !error && parser_->is_header_done();
  // While the header goes on, what is not parsed yet is part of it, and what
  // comes next needs room.
  const size_t bytes = header_bytes_ + (done ? 0 : input_.size() + 1);
  const auto headers =
      std::distance(parser_->get().begin(), parser_->get().end());
  if (bytes > limits_.max_header_bytes || headers > limits_.max_headers ||
      error == http::error::header_limit) {
    return Refuse(431, absl::StrCat("the request line and headers are too "
                                    "large: expected at most ",
                                    limits_.max_header_bytes, " bytes and ",
                                    limits_.max_headers, " headers\n"));
  }
  if (error) return RefuseUnparsed(error);
  if (!done) return ReadSome();
  OnHeader();
}

void HttpConnection::RefuseUnparsed(ErrorCode error) {
  Refuse(400, absl::StrCat("expected an HTTP/1.1 or HTTP/1.0 request, found "
                           "one that is malformed: ",
                           error.message(), "\n"));
}

void HttpConnection::OnHeader() {
  const auto& message = parser_->get();
  is_head_ = message.method() == http::verb::head;
  keep_alive_ = message.keep_alive();
  std::optional<HttpRefusal> refusal =
      TakeHeader(*parser_, table_->router(), &request_, &route_);
  if (refusal.has_value()) {
    return Refuse(refusal->status, std::move(refusal->text),
                  std::move(refusal->headers));
  }
  // Before its body is read in vain.
  if (!CheckRoom()) return;
  request_.peer = peer_;
  request_.peer_is_local = peer_is_local_;
  if (parser_->is_done()) return Handle();
  StartBody();
}

bool HttpConnection::CheckRoom() {
  if (route_->is_probe || table_->CanHandle()) return true;
  Refuse(503, "too many requests are under way\n", {{"Retry-After", "1"}});
  return false;
}

void HttpConnection::StartBody() {
  phase_ = Phase::kBody;
  SetTimer(limits_.body_timeout);
  parser_->eager(true);
  parser_->body_limit(route_->max_body_bytes);
  if (input_.size() > 0) return Parse();
  const auto& message = parser_->get();
  if (message.version() >= 11 && message.count(http::field::expect) > 0) {
    asio::async_write(socket_, asio::buffer(kContinue.data(), kContinue.size()),
                      Then(&HttpConnection::OnContinueSent));
    return;
  }
  ReadSome();
}

void HttpConnection::OnContinueSent(ErrorCode error, size_t /*bytes*/) {
  if (error) return Close();
  ReadSome();
}

void HttpConnection::ParseBody(ErrorCode error) {
  const size_t more = parser_->get().body().size() - body_bytes_;
  body_bytes_ += more;
  if (!table_->ChargeBody(this, more)) {
    return Refuse(503,
                  "the bodies of all requests exceed the server's memory for "
                  "them\n",
                  {{"Retry-After", "1"}});
  }
  if (error == http::error::body_limit) {
    return Refuse(413, absl::StrCat("the body is too large: expected at most ",
                                    route_->max_body_bytes, " bytes\n"));
  }
  if (error) return RefuseUnparsed(error);
  if (parser_->is_done()) return Handle();
  if (input_.size() == input_.max_size()) {
    // The line before a chunk, or the trailer behind the last one.
    return Refuse(400, absl::StrCat("a chunk's header is too large: expected "
                                    "at most ",
                                    input_.max_size(), " bytes\n"));
  }
  ReadSome();
}

void HttpConnection::Handle() {
  if (!CheckRoom()) return;
  phase_ = Phase::kHandling;
  all_read_ = true;
  request_.body = std::move(parser_->get().body());
  parser_.reset();
  table_->Move(this, HttpConnectionTable::kHandling);
  SetTimer(limits_.answer_timeout);
  // If the handler throws, its responder sends 500 from its destructor, which
  // comes too late: Run has refused the request by then.
  route_->handler(std::exchange(request_, {}), MakeResponder());
}

HttpResponder HttpConnection::MakeResponder() {
  return HttpResponder([mailbox = table_->mailbox(), weak = weak_from_this(),
                        number = number_](HttpResponse response) {
    mailbox->Post([weak, number, response = std::move(response)]() mutable {
      const std::shared_ptr<HttpConnection> self = weak.lock();
      if (self == nullptr) return;
      self->Run([&] { self->Answer(number, std::move(response)); });
    });
  });
}

void HttpConnection::Answer(uint64_t number, HttpResponse response) {
  if (phase_ != Phase::kHandling || number != number_) return;
  ReleaseBody();
  Write(std::move(response));
}

void HttpConnection::Refuse(int status, std::string text,
                            HttpFields headers) noexcept {
  try {
    ++epoch_;
    socket_.cancel();
    ReleaseBody();
    parser_.reset();
    request_ = {};
    keep_alive_ = false;
    Write({.status = status,
           .body = std::move(text),
           .headers = std::move(headers)});
  } catch (...) {
    Close();
  }
}

void HttpConnection::Write(HttpResponse response) {
  phase_ = Phase::kWriting;
  table_->Move(this, HttpConnectionTable::kWriting);
  SetTimer(limits_.write_timeout);
  if (table_->stopping()) keep_alive_ = false;
  response_ = std::move(response);
  head_ = SerializeHead(response_, keep_alive_);
  const bool has_body = !is_head_ && response_.status != 204;
  const std::array<asio::const_buffer, 2> parts = {
      asio::buffer(head_),
      has_body ? asio::buffer(response_.content()) : asio::const_buffer()};
  asio::async_write(socket_, parts, Then(&HttpConnection::OnWritten));
}

void HttpConnection::OnWritten(ErrorCode error, size_t /*bytes*/) {
  if (error) return Close();
  response_ = {};
  head_ = {};
  if (keep_alive_ && !table_->stopping()) return StartRequest();
  // Unless everything was read, closing would take the answer back.
  if (table_->stopping() || (all_read_ && input_.size() == 0)) return Close();
  Linger();
}

void HttpConnection::Linger() {
  ErrorCode error;
  socket_.shutdown(Socket::shutdown_send, error);
  if (error) return Close();
  phase_ = Phase::kLingering;
  table_->Move(this, HttpConnectionTable::kWaiting);
  SetTimer(kLingerTime);
  socket_.async_read_some(asio::buffer(table_->garbage()),
                          Then(&HttpConnection::OnLingered));
}

void HttpConnection::OnLingered(ErrorCode error, size_t bytes) {
  lingered_bytes_ += bytes;
  if (error || lingered_bytes_ > kMostLingerBytes) return Close();
  socket_.async_read_some(asio::buffer(table_->garbage()),
                          Then(&HttpConnection::OnLingered));
}

void HttpConnection::SetTimer(Clock::duration duration) {
  timer_.expires_after(duration);
  timer_.async_wait(
      [self = shared_from_this(), epoch = ++timer_epoch_](ErrorCode error) {
        // An expired timer cannot be cancelled, only ignored.
        if (error || epoch != self->timer_epoch_) return;
        self->Run([&] { self->OnTimeout(); });
      });
}

void HttpConnection::OnTimeout() {
  const auto seconds = [](Clock::duration duration) {
    return absl::StrCat(Seconds(duration), " s\n");
  };
  switch (phase_) {
    case Phase::kHeader:
      if (header_bytes_ + input_.size() == 0) return Close();
      return Refuse(408, "expected the whole header within " +
                             seconds(limits_.header_timeout));
    case Phase::kBody:
      return Refuse(408, "expected the whole body within " +
                             seconds(limits_.body_timeout));
    case Phase::kHandling:
      return Refuse(504, "the request was not answered within " +
                             seconds(limits_.answer_timeout));
    case Phase::kIdle:
    case Phase::kWriting:
    case Phase::kLingering:
    case Phase::kClosed:
      return Close();
  }
}

void HttpConnection::ReleaseBody() {
  table_->ReleaseBody(std::exchange(body_bytes_, 0));
}

void HttpConnection::Close() noexcept {
  if (std::exchange(phase_, Phase::kClosed) == Phase::kClosed) return;
  ++epoch_;
  ++timer_epoch_;
  try {
    timer_.cancel();
  } catch (...) {
    // It expires later, and is ignored.
  }
  ErrorCode ignored;
  socket_.close(ignored);
  ReleaseBody();
  table_->Remove(this);
}

}  // namespace vit
