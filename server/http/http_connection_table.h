#ifndef MNIST_VIT_SERVER_HTTP_HTTP_CONNECTION_TABLE_H_
#define MNIST_VIT_SERVER_HTTP_HTTP_CONNECTION_TABLE_H_

#include <array>
#include <atomic>
#include <boost/asio/generic/stream_protocol.hpp>
#include <cstddef>
#include <list>
#include <memory>

#include "server/http/http_limits.h"
#include "server/http/http_mailbox.h"
#include "server/http/http_router.h"

namespace vit {

class HttpConnection;

// All connections of a server, by what they do, and what they share: limits,
// routes, the memory for bodies. Used by the server's thread alone, but for
// size().
class HttpConnectionTable {
 public:
  enum Kind : size_t {
    kWaiting,   // for their peer to send a request, oldest first
    kHandling,  // a handler has the request
    kWriting,   // for their peer to read the answer, oldest first
    kKinds,
  };
  using List = std::list<std::shared_ptr<HttpConnection>>;
  struct Place {
    Kind kind = kKinds;  // kKinds: in no list
    List::iterator at;
  };

  HttpConnectionTable(const HttpLimits& limits, std::vector<HttpRoute> routes,
                      std::shared_ptr<HttpMailbox> mailbox);

  const HttpLimits& limits() const { return limits_; }
  const HttpRouter& router() const { return router_; }
  const std::shared_ptr<HttpMailbox>& mailbox() const { return mailbox_; }
  // No connection is to begin another request.
  bool stopping() const { return stopping_; }
  // Of any thread.
  int size() const { return size_.load(); }
  // Where connections throw away what they read; never looked at.
  std::array<char, 4096>& garbage() { return garbage_; }

  // Begins a connection; displaces the oldest one if there are too many.
  void Add(boost::asio::generic::stream_protocol::socket socket);

  // Closes the connection that has waited for its peer longest, or else the
  // one that has written longest. False if there is neither.
  bool CloseOldest();

  // Puts a connection last in a list.
  void Move(HttpConnection* connection, Kind kind);
  // Drops the table's reference.
  void Remove(HttpConnection* connection);

  // Whether another request may be handled.
  bool CanHandle() const;

  // Counts bytes of a body that have come. While there are too many, refuses
  // the request whose body began longest ago; false if that is the caller's,
  // who refuses itself.
  bool ChargeBody(HttpConnection* connection, size_t bytes);
  void ReleaseBody(size_t bytes) { body_bytes_ -= bytes; }

  // Closes what waits, refuses what is handled with 503, and lets what is
  // being written finish.
  void Stop();
  void CloseAll();

 private:
  HttpConnection* OldestBody();

  const HttpLimits limits_;
  const HttpRouter router_;
  const std::shared_ptr<HttpMailbox> mailbox_;
  std::array<List, kKinds> lists_;
  std::atomic<int> size_{0};
  size_t body_bytes_ = 0;
  bool stopping_ = false;
  std::array<char, 4096> garbage_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_HTTP_HTTP_CONNECTION_TABLE_H_
