#include "server/base/listening_socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace vit {
namespace {

constexpr char kUnixPrefix[] = "unix:";
constexpr int kLargestPort = 65535;

std::string ErrnoText(int error) {
  return std::generic_category().message(error);
}

// A socket that is bound and listens, or -1 with errno set.
int BindAndListen(int family, const sockaddr* address, socklen_t size) {
  const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -1;
  // Binds beside connections of a former process that the kernel still closes,
  // but not beside another process that listens.
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (bind(fd, address, size) == 0 && listen(fd, SOMAXCONN) == 0) return fd;
  const int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int PortOf(int fd) {
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
    return 0;
  }
  // The port is at the same place in both families.
  return ntohs(reinterpret_cast<sockaddr_in*>(&bound)->sin_port);
}

// Removes a socket that nobody listens on. Leaves any other file alone, and
// bind() then says that the address is in use.
void RemoveStale(const std::string& path, const sockaddr_un& address) {
  struct stat file{};
  if (lstat(path.c_str(), &file) != 0 || !S_ISSOCK(file.st_mode)) return;
  // Not to wait for a process that listens, but accepts nobody.
  const int probe =
      socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (probe < 0) return;
  if (connect(probe, reinterpret_cast<const sockaddr*>(&address),
              sizeof(address)) != 0 &&
      errno == ECONNREFUSED) {
    unlink(path.c_str());
  }
  close(probe);
}

}  // namespace

absl::StatusOr<ListeningSocket> ListeningSocket::Open(
    const std::string& address, const std::string& protocol) {
  ListeningSocket listening;
  listening.address_ = address;
  listening.protocol_ = protocol;
  const absl::Status status =
      address.starts_with(kUnixPrefix)
          ? listening.ListenOnUnix(address.substr(std::strlen(kUnixPrefix)))
          : listening.ListenOnTcp();
  if (!status.ok()) return status;
  return listening;
}

absl::Status ListeningSocket::CannotListen(const std::string& reason) const {
  return absl::UnavailableError(absl::StrCat("cannot listen for ", protocol_,
                                             " on ", address_, ": ", reason));
}

absl::Status ListeningSocket::InvalidAddress() const {
  return absl::InvalidArgumentError(absl::StrCat(
      protocol_,
      " address: expected host:port, [v6]:port or unix:/path, found '",
      address_, "'"));
}

absl::Status ListeningSocket::ListenOnTcp() {
  const size_t colon = address_.rfind(':');
  if (colon == std::string::npos) return InvalidAddress();
  std::string host = address_.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    host = host.substr(1, host.size() - 2);
  }
  // The system would take a port that is too large modulo 2^16.
  const std::string port = address_.substr(colon + 1);
  int number = 0;
  if (host.empty() || !absl::SimpleAtoi(port, &number) || number < 0 ||
      number > kLargestPort) {
    return InvalidAddress();
  }
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (error != 0) return CannotListen(gai_strerror(error));
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> all(found,
                                                               &freeaddrinfo);
  int reason = 0;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    fd_ = BindAndListen(one->ai_family, one->ai_addr, one->ai_addrlen);
    if (fd_ < 0) {
      reason = errno;
      continue;
    }
    family_ = one->ai_family;
    port_ = PortOf(fd_);
    address_ = absl::StrCat(address_.substr(0, colon), ":", port_);
    return absl::OkStatus();
  }
  return CannotListen(ErrnoText(reason));
}

absl::Status ListeningSocket::ListenOnUnix(const std::string& path) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  if (!path.starts_with('/')) return InvalidAddress();
  if (path.size() >= sizeof(name.sun_path)) {
    return absl::InvalidArgumentError(
        absl::StrCat(protocol_, " address: expected a path of at most ",
                     sizeof(name.sun_path) - 1, " bytes, found ", path.size(),
                     " in '", address_, "'"));
  }
  path.copy(name.sun_path, path.size());
  RemoveStale(path, name);
  fd_ = BindAndListen(AF_UNIX, reinterpret_cast<const sockaddr*>(&name),
                      sizeof(name));
  if (fd_ < 0) return CannotListen(ErrnoText(errno));
  family_ = AF_UNIX;
  struct stat file{};
  if (lstat(path.c_str(), &file) == 0) {
    path_ = path;
    device_ = file.st_dev;
    inode_ = file.st_ino;
  }
  return absl::OkStatus();
}

ListeningSocket::ListeningSocket(ListeningSocket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      family_(other.family_),
      port_(other.port_),
      address_(std::move(other.address_)),
      protocol_(std::move(other.protocol_)),
      path_(std::exchange(other.path_, {})),
      device_(other.device_),
      inode_(other.inode_) {}

ListeningSocket::~ListeningSocket() {
  if (fd_ >= 0) close(fd_);
  if (path_.empty()) return;
  // A process that came later may have put its own socket there.
  struct stat file{};
  if (lstat(path_.c_str(), &file) == 0 && file.st_dev == device_ &&
      file.st_ino == inode_) {
    unlink(path_.c_str());
  }
}

int ListeningSocket::Release() { return std::exchange(fd_, -1); }

}  // namespace vit
