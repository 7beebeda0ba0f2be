#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "tests/hostile/attack.h"
#include "tests/hostile/http2.h"
#include "tests/hostile/http2_peer.h"
#include "tests/hostile/limits.h"
#include "tests/hostile/methods.h"
#include "tests/hostile/scenario.h"
#include "tests/integration/test_set.h"

// Peers that open calls and then do not go on, or do not read the answers.
namespace vit::hostile {
namespace {

using vit::testing::TestSet;

const Settings kNoWindow = {{Setting::kInitialWindowSize, 0}};

// A message with one MNIST image as field `field`.
std::string ImageMessage(int field) {
  const std::string image = TestSet::Get().image(0);
  return BytesFieldHead(field, image.size()) + image;
}

// Opens `count` calls, as many on a connection as the server allows, sends
// `message` on each if there is one, and holds on.
void HoldCalls(const Attack& attack, const char* method, int count,
               const std::string* message, const Settings& settings = {}) {
  std::vector<std::unique_ptr<Http2Peer>> peers;
  for (int i = 0; i < count && !attack.Over(); ++i) {
    if (i % kStreamsPerConnection == 0) {
      peers.push_back(std::make_unique<Http2Peer>(attack.grpc_address(),
                                                  attack.over(), settings));
    }
    const uint32_t stream = peers.back()->StartCall(method);
    if (stream == 0 || message == nullptr) continue;
    peers.back()->SendMessage(stream, *message, /*end=*/false);
  }
  attack.Hold();
}

void ReflectionStreams(const Attack& attack) {
  // list_services: the server answers, and waits for the next question.
  const std::string question = BytesFieldHead(7, 0);
  HoldCalls(attack, kReflection, volumes().reflection_streams, &question);
}

void Watches(const Attack& attack) {
  const std::string request;
  HoldCalls(attack, kHealthWatch, volumes().watches, &request);
}

void IdleStreams(const Attack& attack) {
  HoldCalls(attack, kClassifyStream, volumes().idle_streams, nullptr);
}

void IdleCalls(const Attack& attack) {
  HoldCalls(attack, kClassify, volumes().idle_streams, nullptr);
}

// Makes the same call again and again on kConnections connections whose windows
// are zero, as often as each connection may.
void CallUnread(const Attack& attack, const char* method) {
  const std::string message = ImageMessage(1);
  AtOnce(kConnections, [&attack, &message, method] {
    Http2Peer peer(attack.grpc_address(), attack.over(), kNoWindow);
    for (int i = 0; i < volumes().unread_calls && !attack.Over(); ++i) {
      const uint32_t stream = peer.StartCall(method);
      if (stream == 0) break;
      peer.SendMessage(stream, message, /*end=*/true);
    }
    attack.Hold();
  });
}

void ExplainUnread(const Attack& attack) { CallUnread(attack, kExplain); }
void ClassifyUnread(const Attack& attack) { CallUnread(attack, kClassify); }

// Good images on streams whose answers nobody reads, as many as are taken.
void StreamUnread(const Attack& attack) {
  const std::string message = ImageMessage(2);
  AtOnce(kConnections, [&attack, &message] {
    Http2Peer peer(attack.grpc_address(), attack.over(), kNoWindow);
    const uint32_t stream = peer.StartCall(kClassifyStream);
    for (int i = 0; i < 50 * volumes().unread_calls && !attack.Over(); ++i) {
      if (!peer.SendMessage(stream, message, /*end=*/false)) break;
    }
    attack.Hold();
  });
}

constexpr uint32_t kWide = 0x7fffffff;

// Calls for Explain and does not even read its socket: what the server sends
// stays in the server.
void ExplainUnreadSocket(const Attack& attack) {
  const std::string data = GrpcMessage(ImageMessage(1));
  AtOnce(kConnections, [&attack, &data] {
    Http2Peer peer(attack.grpc_address(), attack.over(),
                   {{Setting::kInitialWindowSize, kWide}});
    peer.Send(WindowUpdate(0, kWide - 65535));
    const std::string block = HeaderBlock(GrpcHeaders(kExplain));
    for (int i = 0; i < 10 * volumes().unread_calls && !attack.Over(); ++i) {
      const uint32_t stream = peer.NextStream();
      const IsOver late = After(std::chrono::milliseconds(500));
      const std::string call =
          Frame(FrameType::kHeaders, kEndHeaders, stream, block) +
          Frame(FrameType::kData, kEndStream, stream, data);
      if (!peer.SendBlindly(call, late)) break;
    }
    attack.Hold();
  });
}

// Starts calls and goes, again and again.
void GoneClients(const Attack& attack) {
  const std::string message = ImageMessage(1);
  for (int i = 0; i < volumes().connections && !attack.Over(); ++i) {
    Http2Peer peer(attack.grpc_address(), attack.over());
    for (const char* const method : {kClassify, kClassifyBatch, kExplain}) {
      const uint32_t stream = peer.StartCall(method);
      if (stream != 0) peer.SendMessage(stream, message, /*end=*/true);
    }
  }
  attack.Hold();
}

TEST(StreamPeersTest, ReflectionStreamsTakeNoThreadEach) {
  ExpectHarmless("gRPC: reflection streams", &ReflectionStreams);
}

TEST(StreamPeersTest, ManyWhoWatchHealthDoNoHarm) {
  ExpectHarmless("gRPC: health Watch, many", &Watches);
}

TEST(StreamPeersTest, StreamsOnWhichNothingIsSentDoNoHarm) {
  ExpectHarmless("gRPC: ClassifyStreams that never send", &IdleStreams);
}

TEST(StreamPeersTest, CallsWhoseRequestNeverComesDoNoHarm) {
  ExpectHarmless("gRPC: Classify calls that never send", &IdleCalls);
}

TEST(StreamPeersTest, ExplanationsThatNobodyReadsDoNotPileUp) {
  ExpectHarmless("gRPC: Explain, answers unread", &ExplainUnread);
}

TEST(StreamPeersTest, AZeroWindowReaderDoesNoHarm) {
  ExpectHarmless("gRPC: Classify, windows of zero", &ClassifyUnread);
}

TEST(StreamPeersTest, AStreamThatNobodyReadsIsNotReadFurther) {
  ExpectHarmless("gRPC: ClassifyStream, answers unread", &StreamUnread);
}

TEST(StreamPeersTest, ASocketThatNobodyReadsDoesNoHarm) {
  ExpectHarmless("gRPC: Explain, socket unread", &ExplainUnreadSocket);
}

TEST(StreamPeersTest, ClientsThatGoAwayDoNoHarm) {
  ExpectHarmless("gRPC: clients that go away", &GoneClients);
}

// The peer stays: only the server's own patience can end the call.
TEST(StreamPeersTest, AnUnreadStreamDoesNotHoldUpTheEnd) {
  WatchedServer server;
  ASSERT_TRUE(server.ready());
  Http2Peer peer(server.server().grpc_address(), After(kCallDeadline),
                 kNoWindow);
  const uint32_t stream = peer.StartCall(kClassifyStream);
  const std::string message = ImageMessage(2);
  for (int i = 0; i < 100; ++i) {
    if (!peer.SendMessage(stream, message, /*end=*/false)) break;
  }
  ASSERT_TRUE(server.server().WaitForMetric("vit_images_total", 1));
  HostileReport report{.peer = "gRPC: SIGTERM while a stream is not read"};
  report.peak_resident_bytes = server.monitor().peak_resident_bytes();
  report.peak_threads = server.monitor().peak_threads();
  server.End(&report);
  report.Publish();
}

}  // namespace

std::vector<NamedMisbehaviour> StreamMisbehaviours() {
  return {{"reflection streams", &ReflectionStreams},
          {"watches", &Watches},
          {"idle streams", &IdleStreams},
          {"idle calls", &IdleCalls},
          {"Explain unread", &ExplainUnread},
          {"Classify unread", &ClassifyUnread},
          {"stream unread", &StreamUnread},
          {"socket unread", &ExplainUnreadSocket},
          {"gone clients", &GoneClients}};
}

}  // namespace vit::hostile
