#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/hostile/attack.h"
#include "tests/hostile/http2.h"
#include "tests/hostile/http2_peer.h"
#include "tests/hostile/limits.h"
#include "tests/hostile/methods.h"
#include "tests/hostile/scenario.h"

// Peers whose HTTP/2 headers are too long, malformed or never whole.
namespace vit::hostile {
namespace {

constexpr std::chrono::milliseconds kAnswerPatience{100};

// Sends one header block on a connection of its own, cut into frames of at most
// `frame` bytes, and reads what comes for a little while.
void SendBlock(const Attack& attack, const std::string& block,
               size_t frame = kLargestFrame) {
  if (attack.Over()) return;
  Http2Peer peer(attack.grpc_address(), attack.over());
  peer.WaitForSettings();
  const uint32_t stream = peer.NextStream();
  std::string frames;
  for (size_t begin = 0; begin < block.size(); begin += frame) {
    const bool last = begin + frame >= block.size();
    frames += Frame(begin == 0 ? FrameType::kHeaders : FrameType::kContinuation,
                    last ? kEndHeaders : 0, stream, block.substr(begin, frame));
  }
  peer.SendBlindly(frames, attack.over());
  const IsOver late = After(kAnswerPatience);
  while (!late() && !peer.refused() && peer.ReadMoreUntil(late)) {
  }
}

// Whether a peer acknowledges the server's SETTINGS. Until then, the server's
// limit for headers doesn't bind it.
enum class SettingsUse { kAcknowledged, kIgnored };

// HEADERS whose block never ends, in frames that carry `payload`. Nothing may
// come between the frames of a block, so the peer reads nothing meanwhile.
void EndlessBlock(const Attack& attack, const std::string& first,
                  const std::string& payload,
                  SettingsUse settings = SettingsUse::kAcknowledged) {
  Http2Peer peer(attack.grpc_address(), attack.over());
  if (settings == SettingsUse::kAcknowledged) peer.WaitForSettings();
  const uint32_t stream = peer.NextStream();
  peer.SendBlindly(Frame(FrameType::kHeaders, 0, stream, first), attack.over());
  const std::string frame = Frame(FrameType::kContinuation, 0, stream, payload);
  for (int64_t sent = 0; sent < volumes().header_bytes && !attack.Over();
       sent += std::ssize(frame)) {
    if (!peer.SendBlindly(frame, attack.over())) break;
  }
  attack.Hold();
}

std::string FrameOfHeaders() {
  std::string lines;
  while (lines.size() < kLargestFrame - 200) {
    lines += Literal("x-flood", std::string(100, 'a'));
  }
  return lines;
}

void ContinuationFlood(const Attack& attack) {
  EndlessBlock(attack, HeaderBlock(GrpcHeaders(kClassify)), FrameOfHeaders());
}

void ContinuationFloodBeforeSettings(const Attack& attack) {
  EndlessBlock(attack, HeaderBlock(GrpcHeaders(kClassify)), FrameOfHeaders(),
               SettingsUse::kIgnored);
}

// The same with headers that the server is to keep in its table.
void IndexedContinuationFlood(const Attack& attack) {
  std::string lines;
  while (lines.size() < kLargestFrame - 200) {
    lines += IndexedLiteral("x-flood", std::string(100, 'a'));
  }
  EndlessBlock(attack, HeaderBlock(GrpcHeaders(kClassify)), lines);
}

// One header that claims to be as long as can be.
void EndlessHeader(const Attack& attack) {
  EndlessBlock(attack,
               HeaderBlock(GrpcHeaders(kClassify)) + BigEndian(0, 1) +
                   HpackInteger(0, 7, 1) + "x" + HpackInteger(0, 7, 0x7ffffff0),
               std::string(kLargestFrame, 'a'));
}

// CONTINUATION frames without payload.
void EmptyContinuations(const Attack& attack) {
  Http2Peer peer(attack.grpc_address(), attack.over());
  peer.WaitForSettings();
  const uint32_t stream = peer.NextStream();
  peer.SendBlindly(Frame(FrameType::kHeaders, 0, stream, ""), attack.over());
  std::string frames;
  for (int i = 0; i < 100; ++i) {
    frames += Frame(FrameType::kContinuation, 0, stream, "");
  }
  for (int i = 0; i < volumes().frames && !attack.Over(); i += 100) {
    if (!peer.SendBlindly(frames, attack.over())) break;
  }
  attack.Hold();
}

void LongHeaderLists(const Attack& attack) {
  const std::string call = HeaderBlock(GrpcHeaders(kClassify));
  for (const size_t size : {8000u, 8192u, 9000u, 12000u, 65536u, 1000000u}) {
    SendBlock(attack, call + Literal("x-long", std::string(size, 'a')));
    SendBlock(attack, call + Literal(std::string(size, 'x'), "a"));
    std::string many = call;
    while (many.size() < size) many += Literal("x-many", "a");
    SendBlock(attack, many);
  }
  attack.Hold();
}

// CVE-2023-1428: a header that gRPC refuses, and then more headers than it
// keeps, aborted a server.
void BadHeaderThenLongList(const Attack& attack) {
  const std::string filler = Literal("x-a", std::string(5000, 'a')) +
                             Literal("x-b", std::string(5000, 'b'));
  const Headers bad = {{"te", "x"},           {":scheme", "bogus"},
                       {":method", "BOGUS"},  {":status", "bogus"},
                       {"grpc-timeout", "x"}, {"content-type", "x"},
                       {"grpc-status", "x"},  {"grpc-encoding", "x"}};
  for (const auto& [name, value] : bad) {
    const std::string call = HeaderBlock(GrpcHeaders(kClassify));
    const std::string literal = Literal(name, value);
    SendBlock(attack, absl::StrCat(literal, call, filler));
    SendBlock(attack, absl::StrCat(literal, filler));
    SendBlock(attack, absl::StrCat(call, literal, filler));
    SendBlock(attack, absl::StrCat(IndexedLiteral(name, value), filler));
    SendBlock(attack, absl::StrCat(filler, literal, filler));
  }
  attack.Hold();
}

// CVE-2023-33953: integers, size updates and blocks in pieces of a byte that
// cost the server more than the peer.
void HpackAbuse(const Attack& attack) {
  const std::string call = HeaderBlock(GrpcHeaders(kClassify));
  // Size updates by the thousand.
  std::string updates;
  for (int i = 0; i < 4000; ++i) {
    updates += HpackInteger(0x20, 5, 0) + HpackInteger(0x20, 5, 4096);
  }
  SendBlock(attack, updates + call);
  SendBlock(attack, HpackInteger(0x20, 5, 0xffffffff) + call);
  // An integer with leading zeros without end.
  SendBlock(attack, "\x7f" + std::string(15000, '\x80'));
  SendBlock(attack, "\x3f" + std::string(15000, '\x80') + '\0' + call);
  // Indices that are not there, and one that is zero.
  SendBlock(attack, HpackInteger(0x80, 7, 1000000) + call);
  SendBlock(attack, HpackInteger(0x80, 7, 0) + call);
  // Huffman's code with an end of string in it, and with padding of zeros.
  SendBlock(attack, BigEndian(0, 1) + HpackInteger(0x80, 7, 4) +
                        "\xff\xff\xff\xff" + HpackInteger(0x80, 7, 1) +
                        std::string(1, '\0'));
  // References to one large entry: a byte grows to 4 KiB.
  SendBlock(attack, call + IndexedLiteral("x", std::string(4000, 'a')) +
                        std::string(10000, '\xbe'));
  // A block in pieces of one byte.
  SendBlock(attack, call + Literal("x", std::string(7000, 'a')), 1);
  SendBlock(attack, call + Literal("x", std::string(60000, 'a')), 1);
  attack.Hold();
}

void MalformedRequests(const Attack& attack) {
  const std::vector<Headers> requests = {
      {},
      {{":method", "POST"}},
      {{":path", ""}},
      {{":method", "GET"}, {":scheme", "http"}, {":path", "/"}},
      {{":method", "CONNECT"}, {":authority", "a"}},
      {{":method", "POST"}, {":method", "POST"}, {":path", kClassify}},
      {{"x", "before"}, {":method", "POST"}, {":path", kClassify}},
      {{":method", "POST"}, {":scheme", "http"}, {":path", "no slash"}},
      {{":method", "POST"},
       {":scheme", "http"},
       {":path", "/" + std::string(7000, 'p')}}};
  for (const Headers& request : requests) {
    SendBlock(attack, HeaderBlock(request) + Literal("te", "trailers"));
  }
  const std::string call = HeaderBlock(GrpcHeaders(kClassify));
  for (const Headers& more :
       std::vector<Headers>{{{"UPPER", "case"}},
                            {{"", "no name"}},
                            {{"x", std::string("\0\r\n", 3)}},
                            {{"x-bin", "no base64 !"}},
                            {{"connection", "close"}},
                            {{"grpc-timeout", "99999999999999H"}},
                            {{"grpc-timeout", "-1S"}},
                            {{"grpc-timeout", "0n"}},
                            {{"content-length", "-1"}}}) {
    SendBlock(attack, call + HeaderBlock(more));
  }
  attack.Hold();
}

TEST(HeaderPeersTest, ContinuationsWithoutEndAreNotKept) {
  ExpectHarmless("HTTP/2: CONTINUATION flood", &ContinuationFlood);
}

TEST(HeaderPeersTest, ContinuationsBeforeTheSettingsAreNotKept) {
  ExpectHarmless("HTTP/2: CONTINUATION flood, SETTINGS ignored",
                 &ContinuationFloodBeforeSettings);
}

TEST(HeaderPeersTest, IndexedContinuationsWithoutEndAreNotKept) {
  ExpectHarmless("HTTP/2: CONTINUATION flood, indexed",
                 &IndexedContinuationFlood);
}

TEST(HeaderPeersTest, AHeaderWithoutEndIsNotKept) {
  ExpectHarmless("HTTP/2: a header without end", &EndlessHeader);
}

TEST(HeaderPeersTest, EmptyContinuationsDoNoHarm) {
  ExpectHarmless("HTTP/2: empty CONTINUATION flood", &EmptyContinuations);
}

TEST(HeaderPeersTest, LongHeaderListsAreRefused) {
  ExpectHarmless("HTTP/2: long header lists", &LongHeaderLists);
}

TEST(HeaderPeersTest, ABadHeaderBeforeALongListDoesNotAbort) {
  ExpectHarmless("HTTP/2: a bad header, then a long list",
                 &BadHeaderThenLongList);
}

TEST(HeaderPeersTest, HpackAbuseDoesNoHarm) {
  ExpectHarmless("HTTP/2: HPACK abuse", &HpackAbuse);
}

TEST(HeaderPeersTest, MalformedRequestsAreRefused) {
  ExpectHarmless("HTTP/2: malformed requests", &MalformedRequests);
}

}  // namespace

std::vector<NamedMisbehaviour> HeaderMisbehaviours() {
  return {{"CONTINUATION flood", &ContinuationFlood},
          {"CONTINUATION flood, SETTINGS ignored",
           &ContinuationFloodBeforeSettings},
          {"indexed flood", &IndexedContinuationFlood},
          {"endless header", &EndlessHeader},
          {"empty CONTINUATIONs", &EmptyContinuations},
          {"long header lists", &LongHeaderLists},
          {"bad header, long list", &BadHeaderThenLongList},
          {"HPACK abuse", &HpackAbuse},
          {"malformed requests", &MalformedRequests}};
}

}  // namespace vit::hostile
