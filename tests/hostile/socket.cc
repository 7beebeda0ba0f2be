#include "tests/hostile/socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdlib>

namespace vit::hostile {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kConnectPatience{1000};
// How long one poll takes at most, before `over` is asked again.
constexpr int kPollMs = 20;

bool Poll(int fd, short events, int milliseconds) {
  pollfd entry{.fd = fd, .events = events, .revents = 0};
  return poll(&entry, 1, milliseconds) > 0;
}

bool WouldBlock(int error) {
  return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

}  // namespace

IsOver After(std::chrono::milliseconds patience) {
  return [end = Clock::now() + patience] { return Clock::now() >= end; };
}

Socket::Socket(const std::string& address)
    : fd_(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
  if (fd_ < 0) return;
  const int on = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  where.sin_port = htons(static_cast<uint16_t>(
      std::atoi(address.substr(address.rfind(':') + 1).c_str())));
  if (connect(fd_, reinterpret_cast<sockaddr*>(&where), sizeof(where)) == 0) {
    return;
  }
  int error = errno;
  if (error == EINPROGRESS &&
      Poll(fd_, POLLOUT, static_cast<int>(kConnectPatience.count()))) {
    socklen_t size = sizeof(error);
    getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
  }
  if (error != 0) Close();
}

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    Close();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void Socket::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

bool Socket::Send(std::string_view bytes, const IsOver& over) {
  while (!bytes.empty()) {
    const ssize_t count = SendSome(bytes);
    if (count < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(count));
    if (bytes.empty()) break;
    if (over()) return false;
    if (count == 0) WaitForRoom(/*input_too=*/false);
  }
  return true;
}

ssize_t Socket::SendSome(std::string_view bytes) {
  if (!open()) return -1;
  const ssize_t count = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (count >= 0) return count;
  if (WouldBlock(errno)) return 0;
  Close();
  return -1;
}

bool Socket::Receive(std::string* bytes, size_t most) {
  std::array<char, 16384> buffer;
  while (open() && most > 0) {
    const ssize_t count =
        recv(fd_, buffer.data(), std::min(buffer.size(), most), 0);
    if (count == 0) return false;
    if (count < 0) return WouldBlock(errno);
    bytes->append(buffer.data(), static_cast<size_t>(count));
    most -= static_cast<size_t>(count);
  }
  return open();
}

bool Socket::WaitForInput(const IsOver& over) const {
  while (open()) {
    if (Poll(fd_, POLLIN, kPollMs)) return true;
    if (over()) return false;
  }
  return true;
}

void Socket::WaitForRoom(bool input_too) const {
  if (!open()) return;
  const int events = input_too ? POLLOUT | POLLIN : POLLOUT;
  Poll(fd_, static_cast<short>(events), kPollMs);
}

}  // namespace vit::hostile
