#ifndef MNIST_VIT_SERVER_HTTP_PEER_NAME_H_
#define MNIST_VIT_SERVER_HTTP_PEER_NAME_H_

#include <string>

namespace vit {

struct PeerName {
  // Such as "127.0.0.1:40000", "[::1]:40000" or "unix"; "unknown" if it has
  // gone already.
  std::string text = "unknown";
  // A loopback address or a Unix socket.
  bool is_local = false;
};

// Who is at the other end of a connected socket.
PeerName PeerOf(int fd);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_HTTP_PEER_NAME_H_
