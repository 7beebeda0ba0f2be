#include "server/http/peer_name.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace vit {
namespace {

bool IsLoopback(const in_addr& address) {
  return (ntohl(address.s_addr) >> 24) == 127;
}

PeerName NameV4(const in_addr& address, in_port_t port) {
  std::array<char, INET_ADDRSTRLEN> text{};
  inet_ntop(AF_INET, &address, text.data(), text.size());
  return {.text = absl::StrCat(text.data(), ":", ntohs(port)),
          .is_local = IsLoopback(address)};
}

PeerName NameV6(const sockaddr_in6& peer) {
  // A socket for both families shows IPv4 peers as ::ffff:a.b.c.d.
  if (IN6_IS_ADDR_V4MAPPED(&peer.sin6_addr)) {
    in_addr inner{};
    std::memcpy(&inner, &peer.sin6_addr.s6_addr[12], sizeof(inner));
    return NameV4(inner, peer.sin6_port);
  }
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(AF_INET6, &peer.sin6_addr, text.data(), text.size());
  return {.text = absl::StrCat("[", text.data(), "]:", ntohs(peer.sin6_port)),
          .is_local = IN6_IS_ADDR_LOOPBACK(&peer.sin6_addr) != 0};
}

}  // namespace

PeerName PeerOf(int fd) {
  sockaddr_storage peer{};
  socklen_t size = sizeof(peer);
  if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) {
    return {};
  }
  switch (peer.ss_family) {
    case AF_UNIX:
      return {.text = "unix", .is_local = true};
    case AF_INET: {
      const auto* v4 = reinterpret_cast<const sockaddr_in*>(&peer);
      return NameV4(v4->sin_addr, v4->sin_port);
    }
    case AF_INET6:
      return NameV6(*reinterpret_cast<const sockaddr_in6*>(&peer));
    default:
      return {};
  }
}

}  // namespace vit
