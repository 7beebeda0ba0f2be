#ifndef MNIST_VIT_SERVER_HTTP_HTTP_LIMITS_H_
#define MNIST_VIT_SERVER_HTTP_HTTP_LIMITS_H_

#include <chrono>
#include <cstddef>

#include "server/base/clock.h"

namespace vit {

// What a peer may take from the HTTP server. Every buffer and every wait ends
// at one of these limits.
//
// Memory: one connection holds at most about 5 times max_header_bytes (what
// was read, the parsed headers, their copy in the request), 80 KiB by default,
// plus its body and its answer. Bodies of all connections together stay below
// max_total_body_bytes plus 16 KiB a connection. By default that is 20 MiB for
// 256 connections with the largest headers, and at most 68 MiB for bodies,
// twice as much if all of them are chunked, because strings grow by doubling.
// A connection that only waits holds less than 4 KiB.
//
// Time: one request holds a connection for at most the sum of its timeouts,
// 105 s by default.
struct HttpLimits {
  // Request line and headers. Common servers allow 8 to 16 KiB; cookies and
  // tokens fit in.
  size_t max_header_bytes = 16 << 10;

  // A header costs memory beyond its own bytes, so that 16 KiB of tiny ones
  // would cost 300 KiB.
  int max_headers = 100;

  // At the limit a new connection displaces the one that has waited longest
  // for its peer, so that probes always get in. A scraper, a prober and the
  // clients of a balancer need a few dozen.
  int max_connections = 256;

  // Requests whose handlers have not answered yet, at most half of
  // max_connections. More are refused with 503, except at probes. Because the
  // other half waits for peers, there is always a connection to displace.
  int max_requests = 128;

  // The bodies of all connections together. When they exceed it, the
  // connection that has been sending its body for longest is refused with 503.
  size_t max_total_body_bytes = 64 << 20;

  // From the connection, or the first byte of a later request, to the end of
  // the headers. They fit in a packet or two; 5 s outlast a retransmission.
  Clock::duration header_timeout = std::chrono::seconds(5);

  // From the end of the headers to the end of the body, in total, however
  // steadily it drips. A picture of 4 MiB gets through at 140 KiB/s.
  Clock::duration body_timeout = std::chrono::seconds(30);

  // From the end of the body to the handler's answer; then the peer gets 504.
  // A handler's own deadline should be shorter.
  Clock::duration answer_timeout = std::chrono::seconds(60);

  // For one answer in total, however slowly the peer reads it.
  Clock::duration write_timeout = std::chrono::seconds(10);

  // Between two requests of a connection. Longer than the 15 s between two
  // scrapes, so that a scraper keeps its connection.
  Clock::duration idle_timeout = std::chrono::seconds(60);
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_HTTP_HTTP_LIMITS_H_
