#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "tests/hostile/attack.h"
#include "tests/hostile/limits.h"
#include "tests/hostile/scenario.h"
#include "tests/hostile/socket.h"

// Peers that misbehave on the port of the probes and metrics, in HTTP/1.1.
namespace vit::hostile {
namespace {

// Sends the same block again and again: nothing large is ever in memory.
void SendFiller(Socket& socket, int64_t count, const Attack& attack) {
  const std::string block(size_t{64} << 10, 'a');
  while (count > 0 && !attack.Over()) {
    const auto part = std::min<int64_t>(count, std::ssize(block));
    if (!socket.Send({block.data(), static_cast<size_t>(part)},
                     attack.over())) {
      return;
    }
    count -= part;
  }
}

void LargeBody(const Attack& attack) {
  Socket socket(attack.http_address());
  socket.Send("PUT /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: " +
                  std::to_string(volumes().body_bytes) + "\r\n\r\n",
              attack.over());
  SendFiller(socket, volumes().body_bytes, attack);
  attack.Hold();
}

void EndlessChunks(const Attack& attack) {
  Socket socket(attack.http_address());
  socket.Send(
      "POST /healthz HTTP/1.1\r\nHost: a\r\n"
      "Transfer-Encoding: chunked\r\n\r\n",
      attack.over());
  const std::string chunk = "4000\r\n" + std::string(0x4000, 'a') + "\r\n";
  for (int64_t sent = 0; sent < volumes().body_bytes && !attack.Over();
       sent += std::ssize(chunk)) {
    if (!socket.Send(chunk, attack.over())) break;
  }
  attack.Hold();
}

void LongHeaderLine(const Attack& attack) {
  Socket socket(attack.http_address());
  socket.Send("GET /metrics HTTP/1.1\r\nHost: a\r\nX-Long: ", attack.over());
  SendFiller(socket, volumes().header_bytes, attack);
  attack.Hold();
}

void ManyHeaderLines(const Attack& attack) {
  Socket socket(attack.http_address());
  socket.Send("GET /metrics HTTP/1.1\r\nHost: a\r\n", attack.over());
  std::string lines;
  for (int i = 0; i < 1000; ++i) {
    lines += "X-" + std::to_string(i) + ": " + std::string(50, 'a') + "\r\n";
  }
  for (int64_t sent = 0; sent < volumes().header_bytes && !attack.Over();
       sent += std::ssize(lines)) {
    if (!socket.Send(lines, attack.over())) break;
  }
  attack.Hold();
}

void LongTarget(const Attack& attack) {
  Socket socket(attack.http_address());
  socket.Send("GET /", attack.over());
  SendFiller(socket, volumes().header_bytes, attack);
  attack.Hold();
}

void HoldHalfSentRequests(const Attack& attack, int count) {
  std::vector<Socket> sockets;
  for (int i = 0; i < count && !attack.Over(); ++i) {
    sockets.emplace_back(attack.http_address());
    sockets.back().Send("GET /healthz HTTP/1.1\r\nHost: a\r\n", attack.over());
  }
  attack.Hold();
}

void FewHalfSentRequests(const Attack& attack) {
  HoldHalfSentRequests(attack, kShortForm.half_sent_requests);
}

void ManyHalfSentRequests(const Attack& attack) {
  HoldHalfSentRequests(attack, volumes().half_sent_requests);
}

// One byte at a time on every connection, so that no single wait is long.
void SlowRequests(const Attack& attack) {
  const std::string request =
      "GET /healthz HTTP/1.1\r\nHost: " + std::string(200, 'a') + "\r\n\r\n";
  std::vector<Socket> sockets;
  for (int i = 0; i < volumes().slow_connections && !attack.Over(); ++i) {
    sockets.emplace_back(attack.http_address());
  }
  for (size_t sent = 0; sent + 1 < request.size() / 2; ++sent) {
    for (Socket& socket : sockets) {
      if (attack.Over()) return;
      socket.SendSome({&request[sent], 1});
    }
  }
  attack.Hold();
}

void MetricsFlood(const Attack& attack) {
  constexpr int kAtOnce = 8;
  const std::string request =
      "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  for (int done = 0; done < volumes().requests && !attack.Over();
       done += kAtOnce) {
    std::vector<Socket> sockets;
    for (int i = 0; i < kAtOnce; ++i) {
      sockets.emplace_back(attack.http_address());
      sockets.back().Send(request, attack.over());
    }
    for (Socket& socket : sockets) {
      std::string answer;
      while (socket.WaitForInput(attack.over()) &&
             socket.Receive(&answer, 65536)) {
        answer.clear();
      }
    }
  }
  attack.Hold();
}

void UnreadMetrics(const Attack& attack) {
  std::string requests;
  for (int i = 0; i < 100; ++i) {
    requests += "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";
  }
  std::vector<Socket> sockets;
  for (int i = 0; i < volumes().slow_connections && !attack.Over(); ++i) {
    sockets.emplace_back(attack.http_address());
    sockets.back().SendSome(requests);
  }
  attack.Hold();
}

void Garbage(const Attack& attack) {
  const std::vector<std::string> requests = {
      std::string(4096, '\0'),
      std::string(4096, '\xff'),
      "GET\r\n\r\n",
      "GET /metrics HTTP/9.9\r\n\r\n",
      "GET /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
      "PUT /metrics HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
      "PUT /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
      ("PUT /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
       "ffffffffffffffff\r\n"),
      "GET /metrics HTTP/1.1\r\nRange: bytes=0-0,1-1,-5,99999999-1\r\n\r\n",
      "GET /../../etc/passwd HTTP/1.1\r\n\r\n",
      "GET /%00%zz%u0000?%=&&= HTTP/1.1\r\n\r\n",
      ("POST /metrics HTTP/1.1\r\nContent-Type: multipart/form-data; "
       "boundary=b\r\nContent-Length: 20\r\n\r\n--b\r\nContent-Dispositi"),
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"};
  for (const std::string& request : requests) {
    if (attack.Over()) return;
    Socket socket(attack.http_address());
    socket.Send(request, attack.over());
    std::string answer;
    const IsOver late = After(std::chrono::milliseconds(100));
    while (!late() && socket.WaitForInput(late) &&
           socket.Receive(&answer, 65536)) {
      answer.clear();
    }
  }
  attack.Hold();
}

TEST(HttpPeersTest, ALargeBodyIsNotKept) {
  ExpectHarmless("HTTP: PUT /metrics with a large body", &LargeBody);
}

TEST(HttpPeersTest, AnEndlessChunkedBodyIsNotKept) {
  ExpectHarmless("HTTP: POST with endless chunks", &EndlessChunks);
}

TEST(HttpPeersTest, ALongHeaderLineIsNotKept) {
  ExpectHarmless("HTTP: a header line without end", &LongHeaderLine);
}

TEST(HttpPeersTest, ManyHeaderLinesAreNotKept) {
  ExpectHarmless("HTTP: header lines without end", &ManyHeaderLines);
}

TEST(HttpPeersTest, ALongTargetIsNotKept) {
  ExpectHarmless("HTTP: a target without end", &LongTarget);
}

TEST(HttpPeersTest, FiftyHalfSentRequestsDoNotSilenceProbes) {
  ExpectHarmless("HTTP: 50 half-sent requests", &FewHalfSentRequests);
}

TEST(HttpPeersTest, ManyHalfSentRequestsDoNotSilenceProbes) {
  if (!FullForm()) GTEST_SKIP() << "the full form's volume";
  ExpectHarmless("HTTP: 1,000 half-sent requests", &ManyHalfSentRequests);
}

TEST(HttpPeersTest, RequestsByteByByteDoNotSilenceProbes) {
  ExpectHarmless("HTTP: requests byte by byte", &SlowRequests);
}

TEST(HttpPeersTest, AFloodOfMetricsDoesNotSilenceProbes) {
  ExpectHarmless("HTTP: flood of GET /metrics", &MetricsFlood);
}

TEST(HttpPeersTest, UnreadMetricsDoNotSilenceProbes) {
  ExpectHarmless("HTTP: GET /metrics, unread", &UnreadMetrics);
}

TEST(HttpPeersTest, GarbageIsRefused) {
  ExpectHarmless("HTTP: garbage", &Garbage);
}

}  // namespace

std::vector<NamedMisbehaviour> HttpMisbehaviours() {
  return {{"large body", &LargeBody},
          {"endless chunks", &EndlessChunks},
          {"long header line", &LongHeaderLine},
          {"many header lines", &ManyHeaderLines},
          {"half-sent requests", &FewHalfSentRequests},
          {"slow requests", &SlowRequests},
          {"metrics flood", &MetricsFlood},
          {"unread metrics", &UnreadMetrics},
          {"garbage", &Garbage}};
}

}  // namespace vit::hostile
