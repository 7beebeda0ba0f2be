#ifndef MNIST_VIT_SERVER_BASE_LISTENING_SOCKET_H_
#define MNIST_VIT_SERVER_BASE_LISTENING_SOCKET_H_

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"

namespace vit {

// A stream socket that listens. Closes it and removes its file at the end.
class ListeningSocket {
 public:
  // `address` is "host:port" or "[v6]:port", where port 0 picks a free one, or
  // "unix:/path". A file that a dead process left at the path is replaced.
  // InvalidArgument if the address has another form, Unavailable if it cannot
  // be listened on or another process listens there. `protocol` is what errors
  // call the address, such as "HTTP".
  static absl::StatusOr<ListeningSocket> Open(const std::string& address,
                                              const std::string& protocol);

  ~ListeningSocket();
  ListeningSocket(ListeningSocket&& other) noexcept;
  ListeningSocket& operator=(ListeningSocket&&) = delete;

  // The caller closes the descriptor. Once.
  int Release();
  // The descriptor, which stays this object's; negative once released.
  int descriptor() const { return fd_; }
  // AF_INET, AF_INET6 or AF_UNIX.
  int family() const { return family_; }
  // 0 for a Unix socket.
  int port() const { return port_; }
  // As it was given, with the port that was picked.
  const std::string& address() const { return address_; }

 private:
  ListeningSocket() = default;

  absl::Status CannotListen(const std::string& reason) const;
  absl::Status InvalidAddress() const;
  absl::Status ListenOnTcp();
  absl::Status ListenOnUnix(const std::string& path);

  int fd_ = -1;
  int family_ = 0;
  int port_ = 0;
  std::string address_;
  std::string protocol_;
  // The Unix socket's file, to remove no other one; empty if there is none.
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_BASE_LISTENING_SOCKET_H_
