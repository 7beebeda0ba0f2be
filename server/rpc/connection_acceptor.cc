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
#include <utility>

namespace vit {
namespace {

constexpr int kAcceptedAtOnce = 64;
// What a connection sends before it counts as one that fills memory, in bytes.
constexpr uint64_t kMuch = 256 << 10;
constexpr Clock::duration kSilent = std::chrono::seconds(1);
// How long to wait for a descriptor to become free.
constexpr int kPauseMilliseconds = 100;

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
}

void ConnectionAcceptor::Start(
    std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> to_grpc) {
  to_grpc_ = std::move(to_grpc);
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
    const int count = epoll_wait(epoll_.get(), events.data(), events.size(),
                                 out_of_descriptors_ ? kPauseMilliseconds : -1);
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
        if (pressed_.exchange(false)) EndBusiest();
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
  grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters
      parameters;
  parameters.listener_fd = listener_.descriptor();
  parameters.fd = connection.Release();
  to_grpc_->HandleNewConnection(&parameters);
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
  observer_->OnRefused(RpcObserver::Rule::kConnectionLimit);
  shutdown(silent->second.duplicate.get(), SHUT_RDWR);
  Forget(silent->first);
  return true;
}

void ConnectionAcceptor::EndBusiest() {
  uint64_t most = kMuch;
  auto busiest = connections_.end();
  for (auto i = connections_.begin(); i != connections_.end(); ++i) {
    const uint64_t received = BytesReceived(i->second.duplicate.get());
    const uint64_t since =
        received - std::exchange(i->second.received, received);
    if (since <= most) continue;
    most = since;
    busiest = i;
  }
  if (busiest == connections_.end()) return;
  observer_->OnRefused(RpcObserver::Rule::kMemoryPressure);
  shutdown(busiest->second.duplicate.get(), SHUT_RDWR);
  Forget(busiest->first);
}

void ConnectionAcceptor::Forget(uint64_t id) {
  connections_.erase(id);
  observer_->OnConnections(connections_.size());
}

}  // namespace vit
