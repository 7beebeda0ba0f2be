#ifndef MNIST_VIT_SERVER_RPC_SOCKET_TRAFFIC_H_
#define MNIST_VIT_SERVER_RPC_SOCKET_TRAFFIC_H_

#include <cstdint>
#include <optional>

#include "server/base/clock.h"

namespace vit {

// What the kernel has counted of a TCP connection.
struct SocketTraffic {
  uint64_t received = 0;      // bytes from the peer, read or not
  uint64_t sent = 0;          // bytes to the peer
  Clock::duration silence{};  // how long nothing has come from the peer
};

// Null if the descriptor is of no TCP connection, a Unix socket for example.
std::optional<SocketTraffic> TrafficOf(int descriptor);

// How many bytes from the peer were read. 0 where there is no count.
uint64_t BytesRead(int descriptor);

// Ends a connection. Whoever reads from it finds the end at once, and not what
// has come and is yet to be read.
void EndConnection(int descriptor);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_SOCKET_TRAFFIC_H_
