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
#include <cstdint>
#include <optional>
#include <utility>

namespace vit {
namespace {

constexpr int kAcceptedAtOnce = 64;
// How long to wait for a descriptor to become free, or for gRPC to take a
// connection.
constexpr int kPauseMilliseconds = 50;

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
      connections_(observer),
      listener_(std::move(listener)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

ConnectionAcceptor::~ConnectionAcceptor() {
  stopping_.store(true);
  Wake();
  if (thread_.joinable()) thread_.join();
  connections_.EndAll();
  hand_over_.reset();  // once gRPC's ends of the connections are shut
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
      connections_.End(*id, RpcObserver::Rule::kConnectionLimit);
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
        if (!accepting_.load())
          const FileDescriptor closed(listener_.Release());
      } else if (id == kListenerId) {
        if (listener_.descriptor() >= 0) Accept();
      } else {
        connections_.Remove(id);
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
  if (connections_.size() >= max_connections_ && !connections_.MakeRoom()) {
    observer_->OnRefused(RpcObserver::Rule::kConnectionLimit);
    return;
  }
  FileDescriptor duplicate(fcntl(connection.get(), F_DUPFD_CLOEXEC, 0));
  if (!duplicate.valid()) return;
  const int on = 1;
  setsockopt(connection.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  const uint64_t id = next_id_++;
  // Not EPOLLIN: data is gRPC's business, and does not wake this thread. Once
  // only, because gRPC may take its time to close its descriptor.
  Watch(epoll_.get(), duplicate.get(), id,
        EPOLLRDHUP | EPOLLHUP | EPOLLERR | EPOLLONESHOT);
  connections_.Add(id, std::move(duplicate));
  hand_over_->Add(id, std::move(connection), listener_.descriptor());
}

}  // namespace vit
