#include "server/http/http_connection_table.h"

#include <algorithm>
#include <utility>

#include "server/http/http_connection.h"

namespace vit {

HttpConnectionTable::HttpConnectionTable(const HttpLimits& limits,
                                         std::vector<HttpRoute> routes,
                                         std::shared_ptr<HttpMailbox> mailbox)
    : limits_(limits),
      router_(std::move(routes)),
      mailbox_(std::move(mailbox)) {}

void HttpConnectionTable::Add(
    boost::asio::generic::stream_protocol::socket socket) {
  if (stopping_) return;
  while (size_.load() >= limits_.max_connections) {
    if (!CloseOldest()) return;
  }
  const auto connection =
      std::make_shared<HttpConnection>(std::move(socket), this);
  List& waiting = lists_[kWaiting];
  connection->place() = {kWaiting, waiting.insert(waiting.end(), connection)};
  ++size_;
  connection->Start();
}

bool HttpConnectionTable::CloseOldest() {
  for (const Kind kind : {kWaiting, kWriting}) {
    if (lists_[kind].empty()) continue;
    const std::shared_ptr<HttpConnection> oldest = lists_[kind].front();
    oldest->Close();
    return true;
  }
  return false;
}

void HttpConnectionTable::Move(HttpConnection* connection, Kind kind) {
  Place& place = connection->place();
  if (place.kind == kKinds) return;
  lists_[kind].splice(lists_[kind].end(), lists_[place.kind], place.at);
  place.kind = kind;
}

void HttpConnectionTable::Remove(HttpConnection* connection) {
  Place& place = connection->place();
  if (place.kind == kKinds) return;
  List& list = lists_[std::exchange(place.kind, kKinds)];
  // The connection may end with this reference, and must not do so while the
  // list is being changed.
  const std::shared_ptr<HttpConnection> reference = std::move(*place.at);
  list.erase(place.at);
  --size_;
}

bool HttpConnectionTable::CanHandle() const {
  const int most =
      std::min(limits_.max_requests, std::max(limits_.max_connections / 2, 1));
  return lists_[kHandling].size() < static_cast<size_t>(most);
}

bool HttpConnectionTable::ChargeBody(HttpConnection* connection, size_t bytes) {
  body_bytes_ += bytes;
  while (body_bytes_ > limits_.max_total_body_bytes) {
    HttpConnection* const oldest = OldestBody();
    if (oldest == nullptr || oldest == connection) return false;
    oldest->Refuse(503,
                   "the bodies of all requests exceed the server's memory for "
                   "them, and this one took longest\n",
                   {{"Retry-After", "1"}});
  }
  return true;
}

HttpConnection* HttpConnectionTable::OldestBody() {
  for (const std::shared_ptr<HttpConnection>& waiting : lists_[kWaiting]) {
    if (waiting->body_bytes() > 0) return waiting.get();
  }
  return nullptr;
}

void HttpConnectionTable::Stop() {
  stopping_ = true;
  while (!lists_[kWaiting].empty()) CloseOldest();
  while (!lists_[kHandling].empty()) {
    const std::shared_ptr<HttpConnection> first = lists_[kHandling].front();
    first->Refuse(503, "the server is stopping\n");
  }
}

void HttpConnectionTable::CloseAll() {
  for (List& list : lists_) {
    while (!list.empty()) {
      const std::shared_ptr<HttpConnection> first = list.front();
      first->Close();
    }
  }
}

}  // namespace vit
