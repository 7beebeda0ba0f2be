#include "server/rpc/socket_traffic.h"

// Not netinet/tcp.h, whose tcp_info ends before the counts of bytes.
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <chrono>
#include <cstddef>

namespace vit {

std::optional<SocketTraffic> TrafficOf(int descriptor) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) {
    return std::nullopt;
  }
  return SocketTraffic{
      .received = info.tcpi_bytes_received,
      .sent = info.tcpi_bytes_sent,
      .silence = std::chrono::milliseconds(info.tcpi_last_data_recv)};
}

uint64_t BytesRead(int descriptor) {
  // Bytes that come while it looks would count as read.
  constexpr int kTries = 3;
  uint64_t read = 0;
  for (int i = 0; i < kTries; ++i) {
    const auto before = TrafficOf(descriptor);
    int unread = 0;
    if (!before.has_value() || ioctl(descriptor, SIOCINQ, &unread) != 0) {
      return 0;
    }
    read = before->received - static_cast<uint64_t>(unread);
    if (TrafficOf(descriptor)->received == before->received) break;
  }
  return read;
}

void EndConnection(int descriptor) {
  shutdown(descriptor, SHUT_RDWR);
  // TCP throws away what it is asked to cut (man 7 tcp).
  constexpr size_t kEverything = size_t{1} << 30;
  recv(descriptor, nullptr, kEverything, MSG_TRUNC | MSG_DONTWAIT);
}

}  // namespace vit
