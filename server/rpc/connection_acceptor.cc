#include "server/rpc/connection_acceptor.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace vit {
namespace {

constexpr int kBacklog = 1024;
constexpr int kAcceptedAtOnce = 64;
constexpr Clock::duration kSilent = std::chrono::seconds(1);
// How long to wait for a descriptor to become free.
constexpr int kPauseMilliseconds = 100;

absl::Status CannotListen(const std::string& address) {
  return absl::UnavailableError(
      absl::StrCat("cannot listen for gRPC on ", address, ": ",
                   std::strerror(errno),
                   ": is the port taken or the host not this machine's?"));
}

// How long nothing has come from the peer.
Clock::duration Silence(int descriptor, Clock::time_point accepted) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) == 0) {
    return std::chrono::milliseconds(info.tcpi_last_data_recv);
  }
  return Clock::now() - accepted;  // a Unix socket
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
    const std::string& address, size_t max_connections,
    RpcObserver* observer) {
  std::unique_ptr<ConnectionAcceptor> acceptor(
      new ConnectionAcceptor(max_connections, observer));
  if (absl::Status status = acceptor->Bind(address); !status.ok()) {
    return status;
  }
  if (listen(acceptor->listener_.get(), kBacklog) != 0) {
    return CannotListen(address);
  }
  return acceptor;
}

ConnectionAcceptor::ConnectionAcceptor(size_t max_connections,
                                       RpcObserver* observer)
    : max_connections_(max_connections),
      observer_(observer),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

ConnectionAcceptor::~ConnectionAcceptor() {
  stopping_.store(true);
  Wake();
  if (thread_.joinable()) thread_.join();
  for (auto& [id, connection] : connections_) {
    shutdown(connection.duplicate.get(), SHUT_RDWR);
  }
  if (!unix_path_.empty()) unlink(unix_path_.c_str());
}

absl::Status ConnectionAcceptor::Bind(const std::string& address) {
  constexpr char kUnix[] = "unix:";
  if (address.starts_with(kUnix)) return BindUnix(address.substr(5));
  return BindHost(address);
}

absl::Status ConnectionAcceptor::BindUnix(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(name.sun_path)) {
    return absl::InvalidArgumentError(
        absl::StrCat("unix:", path, ": expected a path of 1 to ",
                     sizeof(name.sun_path) - 1, " characters"));
  }
  std::memcpy(name.sun_path, path.data(), path.size());
  const auto* generic = reinterpret_cast<const sockaddr*>(&name);
  // A socket that nobody listens on any more is in the way.
  const FileDescriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(probe.get(), generic, sizeof(name)) != 0 &&
      errno == ECONNREFUSED) {
    unlink(path.c_str());
  }
  listener_ = FileDescriptor(
      socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (bind(listener_.get(), generic, sizeof(name)) != 0) {
    return CannotListen(absl::StrCat("unix:", path));
  }
  unix_path_ = path;
  return absl::OkStatus();
}

absl::Status ConnectionAcceptor::BindHost(const std::string& address) {
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        address, ": expected host:port, [v6]:port or unix:/path"));
  }
  std::string host = address.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), address.c_str() + colon + 1, &hints, &found) !=
      0) {
    return absl::UnavailableError(absl::StrCat(
        "cannot listen for gRPC on ", address, ": unknown host"));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owner(found,
                                                                 &freeaddrinfo);
  listener_ = FileDescriptor(socket(
      found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  // Not SO_REUSEPORT: a port that another process listens on is an error, not
  // a share of it.
  setsockopt(listener_.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(listener_.get(), found->ai_addr, found->ai_addrlen) != 0) {
    return CannotListen(address);
  }
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&bound), &size);
  port_ = ntohs(bound.ss_family == AF_INET6
                    ? reinterpret_cast<const sockaddr_in6*>(&bound)->sin6_port
                    : reinterpret_cast<const sockaddr_in*>(&bound)->sin_port);
  return absl::OkStatus();
}

void ConnectionAcceptor::Start(
    std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> to_grpc) {
  to_grpc_ = std::move(to_grpc);
  Watch(epoll_.get(), wake_.get(), kWakeId, EPOLLIN);
  Watch(epoll_.get(), listener_.get(), kListenerId, EPOLLIN);
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
    const int count =
        epoll_wait(epoll_.get(), events.data(), events.size(),
                   out_of_descriptors_ ? kPauseMilliseconds : -1);
    if (std::exchange(out_of_descriptors_, false)) {
      Watch(epoll_.get(), listener_.get(), kListenerId, EPOLLIN);
    }
    for (int i = 0; i < count; ++i) {
      const uint64_t id = events[i].data.u64;
      if (id == kWakeId) {
        uint64_t value = 0;
        [[maybe_unused]] const ssize_t got =
            read(wake_.get(), &value, sizeof(value));
        if (!accepting_.load()) listener_ = FileDescriptor();
      } else if (id == kListenerId) {
        if (listener_.valid()) Accept();
      } else {
        Forget(id);
      }
    }
  }
}

void ConnectionAcceptor::Accept() {
  for (int i = 0; i < kAcceptedAtOnce; ++i) {
    FileDescriptor connection(accept4(listener_.get(), nullptr, nullptr,
                                      SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (connection.valid()) {
      HandOver(std::move(connection));
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
               errno == ENOBUFS) {
      // The connection waits in the backlog, and would be reported at once
      // again.
      epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, listener_.get(), nullptr);
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
  FileDescriptor duplicate(
      fcntl(connection.get(), F_DUPFD_CLOEXEC, 0));
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
  parameters.listener_fd = listener_.get();
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

void ConnectionAcceptor::Forget(uint64_t id) {
  connections_.erase(id);
  observer_->OnConnections(connections_.size());
}

}  // namespace vit
