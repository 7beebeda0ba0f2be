#ifndef MNIST_VIT_SERVER_HTTP_HTTP_CONNECTION_H_
#define MNIST_VIT_SERVER_HTTP_HTTP_CONNECTION_H_

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "server/base/clock.h"
#include "server/http/http_connection_table.h"
#include "server/http/http_header.h"
#include "server/http/http_message.h"
#include "server/http/http_router.h"

namespace vit {

// One connection: reads a request, has it handled, writes the answer, and
// again. One request at a time: while it is handled nothing is read, so what a
// peer sends ahead waits in the kernel.
//
// Its table holds it until Close(); besides, each operation under way holds a
// reference. A change of phase that abandons an operation raises `epoch_`, so
// that the completion of the old operation does nothing.
//
// TLS would need another `Socket`: all that is used of it is async_read_some,
// async_write_some, shutdown, cancel and close.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  using Socket = boost::asio::generic::stream_protocol::socket;

  // `table` outlives the connection.
  HttpConnection(Socket socket, HttpConnectionTable* table);

  // Begins to read. The table holds the connection already.
  void Start();

  // Answers with an error instead of what goes on, and closes. Not while it
  // writes.
  void Refuse(int status, std::string text, HttpFields headers = {}) noexcept;

  // Gives everything back at once.
  void Close() noexcept;

  // What of its body is in memory.
  size_t body_bytes() const { return body_bytes_; }

  // The table's own note of where it holds this connection.
  HttpConnectionTable::Place& place() { return place_; }

 private:
  enum class Phase {
    kIdle,  // between requests, nothing has come
    kHeader,
    kBody,
    kHandling,
    kWriting,
    kLingering,  // all is sent; reads on, so that the peer gets to read it
    kClosed,
  };
  using ErrorCode = boost::system::error_code;
  using Step = void (HttpConnection::*)(ErrorCode error, size_t bytes);

  void StartRequest();
  void ReadSome();
  void OnRead(ErrorCode error, size_t bytes);
  void Parse();
  void ParseHeader(ErrorCode error, size_t used);
  void ParseBody(ErrorCode error);
  void RefuseUnparsed(ErrorCode error);

  void OnHeader();
  // False if it has refused.
  bool CheckRoom();
  void StartBody();
  void OnContinueSent(ErrorCode error, size_t bytes);

  void Handle();
  HttpResponder MakeResponder();
  void Answer(uint64_t number, HttpResponse response);
  void Write(HttpResponse response);
  void OnWritten(ErrorCode error, size_t bytes);
  void Linger();
  void OnLingered(ErrorCode error, size_t bytes);

  void SetTimer(Clock::duration duration);
  void OnTimeout();
  void ReleaseBody();
  // Makes a handler for Asio that runs `step` unless its time has passed.
  auto Then(Step step);
  // Exceptions end here: the peer gets 500 or 503, or is cut off.
  template <typename Work>
  void Run(Work work) noexcept;
  void Fail(int status) noexcept;

  HttpConnectionTable* const table_;
  const HttpLimits& limits_;
  Socket socket_;
  boost::asio::steady_timer timer_;
  boost::beast::flat_buffer input_;
  HttpConnectionTable::Place place_;
  std::string peer_;
  bool peer_is_local_ = false;

  Phase phase_ = Phase::kHeader;
  uint64_t epoch_ = 0;
  uint64_t timer_epoch_ = 0;
  // Counts requests, so that a late answer finds out that it is late.
  uint64_t number_ = 0;

  std::optional<HttpParser> parser_;
  size_t header_bytes_ = 0;
  const HttpRoute* route_ = nullptr;
  HttpRequest request_;
  size_t body_bytes_ = 0;
  bool is_head_ = false;
  bool keep_alive_ = false;
  // Whether the whole request was read, so that closing loses nothing.
  bool all_read_ = false;
  size_t lingered_bytes_ = 0;
  std::string head_;
  HttpResponse response_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_HTTP_HTTP_CONNECTION_H_
