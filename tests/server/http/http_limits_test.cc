// What hostile peers try, by raw sockets.
#include "server/http/http_limits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "tests/server/http/http_fixture.h"

namespace vit {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using testing::RawPeer;
using ::testing::StartsWith;

constexpr std::chrono::milliseconds kShort{50};

const std::string kHello = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";

std::string PostHead(const std::string& path, size_t length) {
  return "POST " + path +
         " HTTP/1.1\r\nHost: a\r\nContent-Length: " + std::to_string(length) +
         "\r\n\r\n";
}

const std::string kChunked =
    "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

// Of this process.
size_t ResidentBytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (file == nullptr) return 0;
  size_t total = 0;
  size_t resident = 0;
  const int fields = std::fscanf(file, "%zu %zu", &total, &resident);
  std::fclose(file);
  return fields == 2 ? resident * static_cast<size_t>(getpagesize()) : 0;
}

class HttpLimitsTest : public testing::HttpFixture {
 protected:
  // Sends a start, then the piece again and again until the server closes.
  // Returns what it answered. Fails if it takes a GiB.
  std::string Flood(const std::string& start, const std::string& piece) {
    RawPeer peer = Connect();
    peer.Send(start);
    size_t sent = 0;
    while (sent < (size_t{1} << 30) && peer.Send(piece)) sent += piece.size();
    EXPECT_LT(sent, size_t{1} << 30);
    return peer.UntilClosed();
  }

  void ExpectHello() {
    RawPeer peer = Connect();
    peer.Send(kHello);
    EXPECT_THAT(peer.Answer(), EndsWith("hello\n"));
  }
};

TEST_F(HttpLimitsTest, AHeaderAsLargeAsAllowedIsTaken) {
  StartServer();
  const std::string start = "GET /hello HTTP/1.1\r\nHost: a\r\nX: ";
  const std::string end = "\r\n\r\n";
  const size_t room = HttpLimits().max_header_bytes - start.size() - end.size();
  RawPeer peer = Connect();
  peer.Send(start + std::string(room, 'x') + end);
  EXPECT_THAT(peer.Answer(), StartsWith("HTTP/1.1 200 "));
  peer.Send(start + std::string(room + 1, 'x') + end);
  EXPECT_THAT(peer.Answer(), StartsWith("HTTP/1.1 431 "));
}

TEST_F(HttpLimitsTest, AHeaderLineWithoutEndIsRefused) {
  StartServer();
  RawPeer peer = Connect();
  peer.Send("GET /hello HTTP/1.1\r\nX: " + std::string(20'000, 'x'));
  EXPECT_THAT(peer.UntilClosed(),
              AllOf(StartsWith("HTTP/1.1 431 "), HasSubstr("16384 bytes")));
}

TEST_F(HttpLimitsTest, ARequestLineWithoutEndIsRefused) {
  StartServer();
  RawPeer peer = Connect();
  peer.Send("GET /" + std::string(20'000, 'x'));
  EXPECT_THAT(peer.UntilClosed(), StartsWith("HTTP/1.1 431 "));
}

TEST_F(HttpLimitsTest, HeaderLinesWithoutEndAreRefused) {
  StartServer();
  RawPeer few = Connect();
  few.Send("GET /hello HTTP/1.1\r\n");
  const std::string line = "X: " + std::string(1000, 'x') + "\r\n";
  for (int i = 0; i < 20; ++i) few.Send(line);
  EXPECT_THAT(few.UntilClosed(), StartsWith("HTTP/1.1 431 "));
  // Cut so that the parser can take each line before the next one comes.
  RawPeer cut = Connect();
  cut.Send("GET /hello HTTP/1.1\r\nX");
  const std::string rest = ": " + std::string(1000, 'x') + "\r\nX";
  for (int i = 0; i < 20; ++i) cut.Send(rest);
  EXPECT_THAT(cut.UntilClosed(), StartsWith("HTTP/1.1 431 "));
}

TEST_F(HttpLimitsTest, TooManyTinyHeadersAreRefused) {
  StartServer();
  std::string most = "GET /hello HTTP/1.1\r\nHost: a\r\n";
  for (int i = 1; i < HttpLimits().max_headers; ++i) most += "a:\r\n";
  RawPeer peer = Connect();
  peer.Send(most + "\r\n");
  EXPECT_THAT(peer.Answer(), StartsWith("HTTP/1.1 200 "));
  peer.Send(most + "a:\r\n\r\n");
  EXPECT_THAT(peer.UntilClosed(),
              AllOf(StartsWith("HTTP/1.1 431 "), HasSubstr("100 headers")));
}

TEST_F(HttpLimitsTest, ABodyTooLargeIsRefusedBeforeItComes) {
  StartServer();
  for (const char* start : {"PUT /hello", "POST /nothing", "POST /echo"}) {
    EXPECT_THAT(
        AnswerTo(std::string(start) + " HTTP/1.1\r\nHost: a\r\n"
                                      "Content-Length: 1500000000\r\n\r\n"),
        StartsWith("HTTP/1.1 4"))
        << start;
  }
  EXPECT_THAT(AnswerTo(PostHead("/echo", kMostBody + 1)),
              AllOf(StartsWith("HTTP/1.1 413 "), HasSubstr("102400"),
                    HasSubstr("102401"), HasSubstr("Connection: close")));
  EXPECT_THAT(AnswerTo("GET /hello HTTP/1.1\r\nHost: a\r\n"
                       "Content-Length: 1\r\n\r\n"),
              StartsWith("HTTP/1.1 413 "));
}

TEST_F(HttpLimitsTest, AChunkTooLargeIsRefusedBeforeItComes) {
  StartServer();
  EXPECT_THAT(AnswerTo(kChunked + "fffffff\r\n"), StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(AnswerTo(kChunked + "ffffffffffffffff\r\n"),
              StartsWith("HTTP/1.1 4"));
}

TEST_F(HttpLimitsTest, ChunksThatAddUpTooFarAreRefused) {
  StartServer();
  const std::string chunk = "400\r\n" + std::string(1024, 'x') + "\r\n";
  RawPeer peer = Connect();
  peer.Send(kChunked);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(peer.Send(chunk));
  peer.Send("1\r\n");
  EXPECT_THAT(peer.UntilClosed(), StartsWith("HTTP/1.1 413 "));
}

TEST_F(HttpLimitsTest, AChunkHeaderWithoutEndIsRefused) {
  StartServer();
  RawPeer peer = Connect();
  peer.Send(kChunked + "1;" + std::string(20'000, 'x'));
  EXPECT_THAT(peer.UntilClosed(), StartsWith("HTTP/1.1 400 "));
}

TEST_F(HttpLimitsTest, FloodsOfBytesTakeNoMemory) {
  StartServer();
  const std::string piece(64 << 10, 'x');
  const size_t before = ResidentBytes();
  Flood("PUT /hello HTTP/1.1\r\nHost: a\r\nContent-Length: 1500000000\r\n\r\n",
        piece);
  Flood("GET /hello HTTP/1.1\r\nX: ", piece);
  Flood(PostHead("/echo", 1'500'000'000), piece);
  Flood(kChunked + "fffffff\r\n", piece);
  const std::string line = "X: " + std::string(1000, 'x') + "\r\n";
  Flood("GET /hello HTTP/1.1\r\n", line);
  EXPECT_LT(ResidentBytes(), before + (8 << 20));
  ExpectHello();
}

TEST_F(HttpLimitsTest, AHeaderThatDripsIsCutOff) {
  StartServer({.header_timeout = kShort});
  RawPeer peer = Connect();
  peer.Send("GET /hello HTTP/1.1\r\n");
  EXPECT_THAT(peer.UntilClosed(),
              AllOf(StartsWith("HTTP/1.1 408 "), HasSubstr("0.05 s")));
  // Bytes do not buy time.
  RawPeer steady = Connect();
  const Clock::time_point start = Clock::now();
  steady.Send("GET /hello?");
  while (steady.Send("x")) {
    if (Clock::now() > start + std::chrono::seconds(10)) break;
  }
  EXPECT_LT(Clock::now(), start + std::chrono::seconds(10));
}

TEST_F(HttpLimitsTest, APeerThatSaysNothingIsCutOff) {
  StartServer({.header_timeout = kShort});
  RawPeer peer = Connect();
  EXPECT_TRUE(peer.IsClosed());
}

TEST_F(HttpLimitsTest, ABodyThatDripsIsCutOff) {
  StartServer({.body_timeout = kShort});
  RawPeer peer = Connect();
  peer.Send(PostHead("/echo", 100) + "xyz");
  EXPECT_THAT(peer.UntilClosed(),
              AllOf(StartsWith("HTTP/1.1 408 "), HasSubstr("0.05 s")));
}

TEST_F(HttpLimitsTest, AnIdleConnectionIsClosed) {
  StartServer({.idle_timeout = kShort});
  RawPeer peer = Connect();
  peer.Send(kHello);
  EXPECT_THAT(peer.Answer(), EndsWith("hello\n"));
  EXPECT_TRUE(peer.IsClosed());
}

TEST_F(HttpLimitsTest, APeerThatDoesNotReadIsCutOff) {
  StartServer({.write_timeout = kShort});
  RawPeer peer = Connect();
  peer.Send(PostHead("/later", 0));
  // More than the kernel takes for the peer.
  TakeKept().respond({.body = std::string(64 << 20, 'x')});
  while (server_->connections() > 0) std::this_thread::yield();
  EXPECT_LT(peer.UntilClosed().size(), size_t{64} << 20);
}

TEST_F(HttpLimitsTest, ARequestThatIsNeverAnsweredEnds) {
  StartServer({.answer_timeout = kShort});
  RawPeer peer = Connect();
  peer.Send(PostHead("/later", 0));
  const Kept kept = TakeKept();
  EXPECT_THAT(peer.UntilClosed(), StartsWith("HTTP/1.1 504 "));
  kept.respond({.body = "too late"});
  ExpectHello();
}

TEST_F(HttpLimitsTest, ANewConnectionDisplacesTheOneThatWaitedLongest) {
  StartServer({.max_connections = 3});
  RawPeer asked = Connect();
  asked.Send(PostHead("/later", 0));
  const Kept kept = TakeKept();
  RawPeer second = Connect();
  second.Send(kHello);
  EXPECT_THAT(second.Answer(), EndsWith("hello\n"));
  RawPeer third = Connect();
  third.Send(kHello);
  EXPECT_THAT(third.Answer(), EndsWith("hello\n"));
  // The first is older, but what it waits for is the server's to give.
  RawPeer fourth = Connect();
  fourth.Send(kHello);
  EXPECT_THAT(fourth.Answer(), EndsWith("hello\n"));
  EXPECT_TRUE(second.IsClosed());
  third.Send(kHello);
  EXPECT_THAT(third.Answer(), EndsWith("hello\n"));
  kept.respond({.body = "kept"});
  EXPECT_THAT(asked.Answer(), EndsWith("kept"));
}

TEST_F(HttpLimitsTest, TooManyRequestsAtOnceAreRefusedButProbesAreNot) {
  StartServer({.max_requests = 2});
  RawPeer first = Connect();
  RawPeer second = Connect();
  first.Send(PostHead("/later", 0));
  second.Send(PostHead("/later", 0));
  const Kept one = TakeKept();
  const Kept two = TakeKept();
  EXPECT_THAT(AnswerTo(PostHead("/echo", 1)),
              AllOf(StartsWith("HTTP/1.1 503 "), HasSubstr("Retry-After: 1")));
  ExpectHello();
  one.respond({.body = "done"});
  EXPECT_THAT(first.Answer(), EndsWith("done"));
  RawPeer third = Connect();
  third.Send(PostHead("/echo", 1) + "x");
  EXPECT_THAT(third.Answer(), EndsWith("\r\n\r\nx"));
}

TEST_F(HttpLimitsTest, BodiesBeyondTheMemoryForThemRefuseTheOldest) {
  StartServer({.max_total_body_bytes = 150 << 10});
  RawPeer hog = Connect();
  // Until the server has it, the next is not certain to be younger.
  hog.Send(PostHead("/echo", kMostBody) + std::string(kMostBody - 1, 'x'));
  while (server_->connections() < 1) std::this_thread::yield();
  RawPeer honest = Connect();
  honest.Send(PostHead("/echo", kMostBody) + std::string(kMostBody, 'y'));
  EXPECT_THAT(honest.Answer(),
              EndsWith("\r\n\r\n" + std::string(kMostBody, 'y')));
  EXPECT_THAT(hog.UntilClosed(), StartsWith("HTTP/1.1 503 "));
}

TEST_F(HttpLimitsTest, BodiesBeingHandledCountToo) {
  StartServer({.max_total_body_bytes = 150 << 10});
  RawPeer first = Connect();
  first.Send(PostHead("/later", kMostBody) + std::string(kMostBody, 'x'));
  const Kept kept = TakeKept();
  RawPeer second = Connect();
  second.Send(PostHead("/echo", kMostBody) + std::string(kMostBody, 'y'));
  EXPECT_THAT(second.UntilClosed(), StartsWith("HTTP/1.1 503 "));
  kept.respond({.body = "done"});
  EXPECT_THAT(first.Answer(), EndsWith("done"));
  RawPeer third = Connect();
  third.Send(PostHead("/echo", kMostBody) + std::string(kMostBody, 'z'));
  EXPECT_THAT(third.Answer(), StartsWith("HTTP/1.1 200 "));
}

TEST_F(HttpLimitsTest, ProbesGetInBesideAThousandHalfOpenConnections) {
  constexpr int kPeers = 1000;
  rlimit files{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  ASSERT_GE(files.rlim_max, rlim_t{2 * kPeers});
  files.rlim_cur = std::max(files.rlim_cur, rlim_t{2 * kPeers});
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
  StartServer();
  std::vector<RawPeer> half_open;
  half_open.reserve(kPeers);
  for (int i = 0; i < kPeers; ++i) {
    half_open.push_back(Connect());
    ASSERT_TRUE(half_open.back().connected());
    half_open.back().Send(i % 2 == 0 ? "GET /hello HT"
                                     : PostHead("/echo", 1000) + "x");
    if (i % 100 == 0) ExpectHello();
  }
  ExpectHello();
  EXPECT_LE(server_->connections(), HttpLimits().max_connections);
}

TEST_F(HttpLimitsTest, OutOfDescriptorsItDisplacesAndRecovers) {
  StartServer();
  std::vector<RawPeer> peers;
  peers.push_back(Connect());
  peers[0].Send(kHello);
  EXPECT_THAT(peers[0].Answer(), EndsWith("hello\n"));
  rlimit files{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &files), 0);
  // The peer's own descriptor is the last that there is.
  const int next = dup(0);
  ASSERT_GE(next, 0);
  close(next);
  const rlimit none{.rlim_cur = static_cast<rlim_t>(next) + 1,
                    .rlim_max = files.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  RawPeer late = Connect();
  ASSERT_TRUE(late.connected());
  late.Send(kHello);
  EXPECT_THAT(late.Answer(), EndsWith("hello\n"));
  EXPECT_TRUE(peers[0].IsClosed());
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &files), 0);
  ExpectHello();
}

}  // namespace
}  // namespace vit
