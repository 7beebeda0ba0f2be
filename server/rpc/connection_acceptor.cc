#include "server/rpc/connection_acceptor.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <optional>
#include <utility>

namespace vit {
namespace {

constexpr int kAcceptedAtOnce = 64;
// Under memory pressure, how long the connections are watched, how often, and
// what one sends in that time, in bytes, that counts as one that fills memory:
// 32 MB/s.
constexpr std::chrono::milliseconds kWatched{2};
constexpr int kWatches = 5;
constexpr uint64_t kMuch = 64 << 10;
constexpr Clock::duration kSilent = std::chrono::seconds(1);
// Under memory pressure, what one has sent in all, in bytes, and how long it
// has been silent, if it counts as one that still fills memory.
constexpr uint64_t kFull = 1 << 20;
constexpr Clock::duration kSilentForLong = std::chrono::seconds(5);
// How long to wait for a descriptor to become free, or for gRPC to take a
// connection.
constexpr int kPauseMilliseconds = 50;

// How long nothing has come from the peer.
Clock::duration Silence(int descriptor, Clock::time_point accepted) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) == 0) {
    return std::chrono::milliseconds(info.tcpi_last_data_recv);
  }
  return Clock::now() - accepted;  // a Unix socket
}

// Zero for a Unix socket. The C library's tcp_info ends before the kernel's
// tcpi_bytes_received, which is at this place (linux/tcp.h).
uint64_t BytesReceived(int descriptor) {
  constexpr size_t kPlace = 128;
  std::array<char, kPlace + sizeof(uint64_t)> info{};
  socklen_t size = info.size();
  uint64_t received = 0;
  if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, info.data(), &size) == 0 &&
      size == info.size()) {
    std::memcpy(&received, info.data() + kPlace, sizeof(received));
  }
  return received;
}

// What epoll reports: a number of its own, because a descriptor's number is
// soon used again. These two come before the connections'.
constexpr uint64_t kWakeId = 0;
constexpr uint64_t kListenerId = 1;

void Watch(int epoll, int descriptor, uint64_t id, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> ConnectionAcceptor::Listen(
    const std::string& address, size_t max_connections, RpcObserver* observer) {
  absl::StatusOr<ListeningSocket> listener =
      ListeningSocket::Open(address, "gRPC");
  if (!listener.ok()) return listener.status();
  // The constructor is private, so not make_unique.
  return std::unique_ptr<ConnectionAcceptor>(
      new ConnectionAcceptor(*std::move(listener), max_connections, observer));
}

ConnectionAcceptor::ConnectionAcceptor(ListeningSocket listener,
                                       size_t max_connections,
                                       RpcObserver* observer)
    : max_connections_(max_connections),
      observer_(observer),
      listener_(std::move(listener)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

ConnectionAcceptor::~ConnectionAcceptor() {
  stopping_.store(true);
  Wake();
  if (thread_.joinable()) thread_.join();
  for (auto& [id, connection] : connections_) {
    shutdown(connection.duplicate.get(), SHUT_RDWR);
  }
  hand_over_.reset();  // while gRPC's ends of the connections are shut
}

void ConnectionAcceptor::Start(
    std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> to_grpc) {
  hand_over_ = std::make_unique<ConnectionHandOver>(std::move(to_grpc));
  Watch(epoll_.get(), wake_.get(), kWakeId, EPOLLIN);
  Watch(epoll_.get(), listener_.descriptor(), kListenerId, EPOLLIN);
  thread_ = std::thread([this] { Run(); });
}

void ConnectionAcceptor::StopAccepting() {
  accepting_.store(false);
  Wake();
}

void ConnectionAcceptor::RelievePressure() {
  pressed_.store(true);
  Wake();
}

void ConnectionAcceptor::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written =
      write(wake_.get(), &one, sizeof(one));
}

void ConnectionAcceptor::Run() {
  std::array<epoll_event, 64> events{};
  while (!stopping_.load()) {
    const int count = epoll_wait(
        epoll_.get(), events.data(), events.size(),
        out_of_descriptors_ || hand_over_->busy() ? kPauseMilliseconds : -1);
    if (const auto id = hand_over_->Look(Clock::now()); id.has_value()) {
      End(*id, RpcObserver::Rule::kConnectionLimit);
    }
    if (std::exchange(out_of_descriptors_, false) &&
        listener_.descriptor() >= 0) {
      Watch(epoll_.get(), listener_.descriptor(), kListenerId, EPOLLIN);
    }
    for (int i = 0; i < count; ++i) {
      const uint64_t id = events[i].data.u64;
      if (id == kWakeId) {
        uint64_t value = 0;
        [[maybe_unused]] const ssize_t got =
            read(wake_.get(), &value, sizeof(value));
        if (pressed_.exchange(false)) EndHungriest();
        if (!accepting_.load())
          const FileDescriptor closed(listener_.Release());
      } else if (id == kListenerId) {
        if (listener_.descriptor() >= 0) Accept();
      } else {
        Forget(id);
      }
    }
  }
}

void ConnectionAcceptor::Accept() {
  for (int i = 0; i < kAcceptedAtOnce; ++i) {
    FileDescriptor connection(accept4(listener_.descriptor(), nullptr, nullptr,
                                      SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (connection.valid()) {
      HandOver(std::move(connection));
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
               errno == ENOBUFS) {
      // The connection waits in the backlog, and would be reported at once
      // again.
      epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listener_.descriptor(), nullptr);
      out_of_descriptors_ = true;
      return;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return;
    }
  }
}

void ConnectionAcceptor::HandOver(FileDescriptor connection) {
  if (connections_.size() >= max_connections_ && !MakeRoom()) {
    observer_->OnRefused(RpcObserver::Rule::kConnectionLimit);
    return;
  }
  FileDescriptor duplicate(fcntl(connection.get(), F_DUPFD_CLOEXEC, 0));
  if (!duplicate.valid()) return;
  const int on = 1;
  setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  const uint64_t id = next_id_++;
  // Not EPOLLIN: data is gRPC's business, and does not wake this thread.
  Watch(epoll_.get(), duplicate.get(), id, EPOLLRDHUP | EPOLLHUP | EPOLLERR);
  connections_[id] = {.duplicate = std::move(duplicate),
                      .accepted = Clock::now()};
  observer_->OnConnections(connections_.size());
  hand_over_->Add(id, std::move(connection), listener_.descriptor());
}

bool ConnectionAcceptor::MakeRoom() {
  Clock::duration longest{0};
  auto silent = connections_.end();
  for (auto i = connections_.begin(); i != connections_.end(); ++i) {
    const Clock::duration silence =
        Silence(i->second.duplicate.get(), i->second.accepted);
    if (silence < longest) continue;
    longest = silence;
    silent = i;
  }
  if (silent == connections_.end() || longest < kSilent) return false;
  End(silent->first, RpcObserver::Rule::kConnectionLimit);
  return true;
}

// What counts is what comes now, because an honest peer's connection may be
// older and have sent more in all. If nothing much comes, the memory is held by
// a peer that has fallen silent.
void ConnectionAcceptor::EndHungriest() {
  bool ended = false;
  for (int i = 0; i < kWatches; ++i) {
    const std::optional<uint64_t> busiest = Busiest();
    if (!busiest.has_value()) continue;
    End(*busiest, RpcObserver::Rule::kMemoryPressure);
    ended = true;
  }
  if (ended) return;
  if (const std::optional<uint64_t> fullest = FullestOfSilent();
      fullest.has_value()) {
    End(*fullest, RpcObserver::Rule::kMemoryPressure);
  }
}

std::optional<uint64_t> ConnectionAcceptor::Busiest() {
  for (auto& [id, connection] : connections_) {
    connection.received = BytesReceived(connection.duplicate.get());
  }
  std::this_thread::sleep_for(kWatched);
  std::optional<uint64_t> busiest;
  uint64_t most = kMuch;
  for (const auto& [id, connection] : connections_) {
    const uint64_t received =
        BytesReceived(connection.duplicate.get()) - connection.received;
    if (received <= most) continue;
    most = received;
    busiest = id;
  }
  return busiest;
}

std::optional<uint64_t> ConnectionAcceptor::FullestOfSilent() const {
  std::optional<uint64_t> fullest;
  uint64_t most = kFull;
  for (const auto& [id, connection] : connections_) {
    if (connection.received <= most ||
        Silence(connection.duplicate.get(), connection.accepted) <
            kSilentForLong) {
      continue;
    }
    most = connection.received;
    fullest = id;
  }
  return fullest;
}

void ConnectionAcceptor::End(uint64_t id, RpcObserver::Rule rule) {
  const auto connection = connections_.find(id);
  if (connection == connections_.end()) return;
  observer_->OnRefused(rule);
  shutdown(connection->second.duplicate.get(), SHUT_RDWR);
  Forget(id);
}

void ConnectionAcceptor::Forget(uint64_t id) {
  connections_.erase(id);
  observer_->OnConnections(connections_.size());
}

}  // namespace vit
