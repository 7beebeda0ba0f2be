#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/hostile/attack.h"
#include "tests/hostile/http2.h"
#include "tests/hostile/http2_peer.h"
#include "tests/hostile/limits.h"
#include "tests/hostile/methods.h"
#include "tests/hostile/scenario.h"
#include "tests/integration/test_set.h"

// Peers that send HTTP/2 frames by the thousand, or frames that make no sense.
namespace vit::hostile {
namespace {

using vit::testing::TestSet;

constexpr int kFramesAtOnce = 100;

// Sends what `make` makes, kFramesAtOnce frames a time, as often as `times`
// says, over one connection after another if the server closes them. `blindly`:
// without reading the answers.
template <typename Make>
void Flood(const Attack& attack, int times, bool blindly, const Make& make) {
  constexpr int kMostConnections = 1000;
  int done = 0;
  for (int i = 0; i < kMostConnections && done < times; ++i) {
    if (attack.Over()) return;
    Http2Peer peer(attack.grpc_address(), attack.over());
    IsOver stalled = After(std::chrono::seconds(1));
    while (done < times && peer.open() && !attack.Over()) {
      const std::string bytes = make(peer);
      // A server that reads no more has had enough.
      if (blindly ? !peer.SendBlindly(bytes, stalled) : !peer.Send(bytes)) {
        break;
      }
      stalled = After(std::chrono::seconds(1));
      done += kFramesAtOnce;
    }
    if (done >= times) attack.Hold();
  }
}

std::string Repeat(const std::string& bytes, int times) {
  std::string result;
  for (int i = 0; i < times; ++i) result += bytes;
  return result;
}

// Sends whole calls with `data`, if there is any, and cancels each at once.
void ResetCalls(const Attack& attack, const std::string& data) {
  const std::string block = HeaderBlock(GrpcHeaders(kClassify));
  Flood(attack, volumes().resets, /*blindly=*/false, [&](Http2Peer& peer) {
    std::string bytes;
    for (int i = 0; i < kFramesAtOnce; ++i) {
      const uint32_t stream = peer.NextStream();
      bytes += Frame(FrameType::kHeaders, kEndHeaders, stream, block);
      if (!data.empty()) {
        bytes += Frame(FrameType::kData, kEndStream, stream, data);
      }
      bytes += RstStream(stream);
    }
    return bytes;
  });
}

// CVE-2023-44487.
void RapidReset(const Attack& attack) { ResetCalls(attack, ""); }

void RapidCancel(const Attack& attack) {
  const std::string image = TestSet::Get().image(0);
  ResetCalls(attack, GrpcMessage(BytesFieldHead(1, image.size()) + image));
}

void SettingsFlood(const Attack& attack) {
  const std::string frames = Repeat(
      SettingsFrame({{Setting::kMaxConcurrentStreams, 100}}), kFramesAtOnce);
  Flood(attack, volumes().frames, /*blindly=*/true,
        [&](Http2Peer&) { return frames; });
}

// Every change of the table's size is an update that the server must send.
void TableSizeFlood(const Attack& attack) {
  const std::string frames =
      Repeat(SettingsFrame({{Setting::kHeaderTableSize, 0},
                            {Setting::kHeaderTableSize, 0xffffffff},
                            {Setting::kInitialWindowSize, 0},
                            {Setting::kInitialWindowSize, 0x7fffffff}}),
             kFramesAtOnce);
  Flood(attack, volumes().frames, /*blindly=*/true,
        [&](Http2Peer&) { return frames; });
}

void PingFlood(const Attack& attack) {
  const std::string frames =
      Repeat(Frame(FrameType::kPing, 0, 0, std::string(8, 'p')), kFramesAtOnce);
  Flood(attack, volumes().frames, /*blindly=*/true,
        [&](Http2Peer&) { return frames; });
}

void EmptyDataFlood(const Attack& attack) {
  uint32_t stream = 0;
  Flood(attack, volumes().frames, /*blindly=*/false, [&](Http2Peer& peer) {
    if (peer.Window(stream) <= 0) stream = peer.StartCall(kClassifyStream);
    return Repeat(Frame(FrameType::kData, 0, stream, ""), kFramesAtOnce);
  });
}

void UnknownFrames(const Attack& attack) {
  const std::string frames =
      Repeat(Frame(FrameType::kUnknown, 0xff, 0, std::string(200, 'u')) +
                 Frame(FrameType::kPriority, 0, 1, std::string(5, '\1')),
             kFramesAtOnce);
  Flood(attack, volumes().frames / 4, /*blindly=*/false,
        [&](Http2Peer&) { return frames; });
}

// Bytes behind a whole handshake and one open stream; the server may close the
// connection or ignore them.
void SendToAnOpenStream(const Attack& attack, const std::string& bytes) {
  if (attack.Over()) return;
  Http2Peer peer(attack.grpc_address(), attack.over());
  peer.StartCall(kClassifyStream);
  peer.Send(bytes);
  const IsOver late = After(std::chrono::milliseconds(100));
  while (!late() && peer.ReadMoreUntil(late)) {
  }
}

void WindowOverflow(const Attack& attack) {
  constexpr uint32_t kMost = 0x7fffffff;
  SendToAnOpenStream(attack, Repeat(WindowUpdate(0, kMost), 2));
  SendToAnOpenStream(attack, Repeat(WindowUpdate(1, kMost), 2));
  SendToAnOpenStream(attack, WindowUpdate(0, 0) + WindowUpdate(1, 0));
  SendToAnOpenStream(attack,
                     SettingsFrame({{Setting::kInitialWindowSize, kMost}}) +
                         WindowUpdate(1, kMost));
  SendToAnOpenStream(attack,
                     SettingsFrame({{Setting::kInitialWindowSize, kMost + 1}}));
  attack.Hold();
}

// More DATA than the server's windows allow.
void IgnoredWindows(const Attack& attack) {
  const std::string data =
      Frame(FrameType::kData, 0, 1, std::string(kLargestFrame, '\0'));
  for (int i = 0; i < 10 && !attack.Over(); ++i) {
    Http2Peer peer(attack.grpc_address(), attack.over());
    peer.StartCall(kClassifyBatch);
    for (int frame = 0; frame < 1000; ++frame) {
      if (!peer.Send(data)) break;
    }
  }
  attack.Hold();
}

// Frames that RFC 9113 forbids, each on a connection of its own.
void ForbiddenFrames(const Attack& attack) {
  const std::string headers = HeaderBlock(GrpcHeaders(kClassify));
  const std::vector<std::string> forbidden = {
      FrameHead(FrameType::kData, 0, 1, 0xffffff),
      FrameHead(FrameType::kHeaders, kEndHeaders, 3, 0xffffff),
      Frame(FrameType::kData, 0, 0, "x"),
      Frame(FrameType::kData, 0, 99, "x"),
      Frame(FrameType::kData, 0x8, 1, "\xff"),  // more padding than payload
      Frame(FrameType::kHeaders, kEndHeaders, 0, headers),
      Frame(FrameType::kHeaders, kEndHeaders, 2, headers),
      Frame(FrameType::kHeaders, kEndHeaders | 0x8, 3, "\xff"),
      Frame(FrameType::kHeaders, kEndHeaders | 0x20, 3, "\1"),
      Frame(FrameType::kHeaders, 0, 3, headers) + RstStream(3),
      Frame(FrameType::kContinuation, kEndHeaders, 1, headers),
      Frame(FrameType::kPushPromise, kEndHeaders, 1, BigEndian(2, 4) + headers),
      Frame(FrameType::kRstStream, 0, 0, BigEndian(8, 4)),
      Frame(FrameType::kRstStream, 0, 1, "x"),
      Frame(FrameType::kRstStream, 0, 99, BigEndian(8, 4)),
      Frame(FrameType::kSettings, 0, 0, "odd"),
      Frame(FrameType::kSettings, 0, 1, ""),
      Frame(FrameType::kSettings, kAck, 0, "\0\1\0\0\0\1"),
      SettingsFrame({{Setting::kMaxFrameSize, 0}}),
      Frame(FrameType::kPing, 0, 0, "short"),
      Frame(FrameType::kPing, 0, 1, "12345678"),
      Frame(FrameType::kGoAway, 0, 0, ""),
      Frame(FrameType::kGoAway, 0, 0, std::string(16000, 'g')),
      Frame(FrameType::kWindowUpdate, 0, 1, "x"),
      Frame(FrameType::kPriority, 0, 0, "x")};
  for (const std::string& bytes : forbidden) SendToAnOpenStream(attack, bytes);
  attack.Hold();
}

// Each connection sends a call's bytes one at a time.
void SlowFrames(const Attack& attack) {
  const std::string bytes = std::string(kPreface) + SettingsFrame({}) +
                            Frame(FrameType::kHeaders, kEndHeaders, 1,
                                  HeaderBlock(GrpcHeaders(kClassify))) +
                            FrameHead(FrameType::kData, 0, 1, kLargestFrame);
  std::vector<Socket> sockets;
  for (int i = 0; i < volumes().slow_connections && !attack.Over(); ++i) {
    sockets.emplace_back(attack.grpc_address());
  }
  for (size_t sent = 0; sent < bytes.size() && !attack.Over(); ++sent) {
    for (Socket& socket : sockets) socket.SendSome({&bytes[sent], 1});
  }
  attack.Hold();
}

TEST(FramePeersTest, RapidResetDoesNotStarveOthers) {
  ExpectHarmless("HTTP/2: rapid reset", &RapidReset);
}

TEST(FramePeersTest, CallsCancelledAtOnceDoNotStarveOthers) {
  ExpectHarmless("HTTP/2: whole calls, reset at once", &RapidCancel);
}

TEST(FramePeersTest, AFloodOfSettingsDoesNotPileUpAnswers) {
  ExpectHarmless("HTTP/2: SETTINGS flood, unread", &SettingsFlood);
}

TEST(FramePeersTest, AFloodOfTableSizesDoesNoHarm) {
  ExpectHarmless("HTTP/2: table and window sizes flood", &TableSizeFlood);
}

TEST(FramePeersTest, AFloodOfPingsDoesNotPileUpAnswers) {
  ExpectHarmless("HTTP/2: PING flood, unread", &PingFlood);
}

TEST(FramePeersTest, AFloodOfEmptyDataDoesNoHarm) {
  ExpectHarmless("HTTP/2: empty DATA flood", &EmptyDataFlood);
}

TEST(FramePeersTest, UnknownFramesAreIgnored) {
  ExpectHarmless("HTTP/2: unknown frames", &UnknownFrames);
}

TEST(FramePeersTest, WindowsThatOverflowAreRefused) {
  ExpectHarmless("HTTP/2: window overflow", &WindowOverflow);
}

TEST(FramePeersTest, DataBeyondTheWindowIsNotKept) {
  ExpectHarmless("HTTP/2: DATA beyond the windows", &IgnoredWindows);
}

TEST(FramePeersTest, ForbiddenFramesAreRefused) {
  ExpectHarmless("HTTP/2: forbidden frames", &ForbiddenFrames);
}

TEST(FramePeersTest, FramesByteByByteDoNoHarm) {
  ExpectHarmless("HTTP/2: frames byte by byte", &SlowFrames);
}

}  // namespace

std::vector<NamedMisbehaviour> FrameMisbehaviours() {
  return {{"rapid reset", &RapidReset},
          {"rapid cancel", &RapidCancel},
          {"SETTINGS flood", &SettingsFlood},
          {"table size flood", &TableSizeFlood},
          {"PING flood", &PingFlood},
          {"empty DATA", &EmptyDataFlood},
          {"unknown frames", &UnknownFrames},
          {"window overflow", &WindowOverflow},
          {"ignored windows", &IgnoredWindows},
          {"forbidden frames", &ForbiddenFrames},
          {"slow frames", &SlowFrames}};
}

}  // namespace vit::hostile
