#ifndef MNIST_VIT_TESTS_SERVER_HTTP_RAW_PEER_H_
#define MNIST_VIT_TESTS_SERVER_HTTP_RAW_PEER_H_

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

namespace vit::testing {

// A connection whose every byte the test decides on. Reading ends after 20 s
// without a byte, so that a broken server fails the test.
class RawPeer {
 public:
  explicit RawPeer(int port) : fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    Connect(reinterpret_cast<sockaddr*>(&address), sizeof(address));
  }

  explicit RawPeer(const std::string& path)
      : fd_(socket(AF_UNIX, SOCK_STREAM, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    Connect(reinterpret_cast<sockaddr*>(&address), sizeof(address));
  }

  RawPeer(RawPeer&& other) noexcept
      : fd_(std::exchange(other.fd_, -1)),
        connected_(other.connected_),
        received_(std::move(other.received_)) {}
  RawPeer& operator=(RawPeer&&) = delete;

  ~RawPeer() {
    if (fd_ >= 0) close(fd_);
  }

  bool connected() const { return connected_; }

  // False if the server has closed, or takes no more before the time is over.
  bool Send(std::string_view text) {
    while (!text.empty()) {
      const ssize_t sent = send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      text.remove_prefix(static_cast<size_t>(sent));
    }
    return true;
  }

  // One answer with its Content-Length, of a request that was not HEAD.
  std::string Answer() {
    size_t end = std::string::npos;
    while ((end = received_.find("\r\n\r\n")) == std::string::npos) {
      if (!Receive()) return Take(received_.size());
    }
    end += 4;
    constexpr std::string_view kLength = "\r\nContent-Length: ";
    const size_t length = received_.find(kLength);
    if (length < end) {
      end += static_cast<size_t>(
          std::atoll(received_.c_str() + length + kLength.size()));
    }
    while (received_.size() < end && Receive()) {
    }
    return Take(end);
  }

  // Everything up to the end of the connection.
  std::string UntilClosed() {
    while (Receive()) {
    }
    return Take(received_.size());
  }

  // Whether the server closes, sooner or later, without another byte.
  bool IsClosed() { return !Receive() && received_.empty() && !timed_out_; }

  // Reads what comes until there are so many bytes; false if it ends before.
  bool WaitForBytes(size_t bytes) {
    while (received_.size() < bytes) {
      if (!Receive()) return false;
    }
    return true;
  }

 private:
  void Connect(const sockaddr* address, socklen_t size) {
    const timeval patience{.tv_sec = 20, .tv_usec = 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    connected_ = fd_ >= 0 && connect(fd_, address, size) == 0;
  }

  bool Receive() {
    std::array<char, 4096> buffer;
    const ssize_t count = recv(fd_, buffer.data(), buffer.size(), 0);
    timed_out_ = count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    if (count <= 0) return false;
    received_.append(buffer.data(), static_cast<size_t>(count));
    return true;
  }

  std::string Take(size_t size) {
    size = std::min(size, received_.size());
    std::string taken = received_.substr(0, size);
    received_.erase(0, size);
    return taken;
  }

  int fd_;
  bool connected_ = false;
  bool timed_out_ = false;
  std::string received_;
};

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_SERVER_HTTP_RAW_PEER_H_
