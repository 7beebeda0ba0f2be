#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/hostile/attack.h"
#include "tests/hostile/http2.h"
#include "tests/hostile/http2_peer.h"
#include "tests/hostile/limits.h"
#include "tests/hostile/scenario.h"
#include "tests/hostile/socket.h"

// Peers that connect and say nothing, or something that is not HTTP/2.
namespace vit::hostile {
namespace {

// Connects `count` times, sends `greeting` on each, and holds on.
void HoldConnections(const Attack& attack, const std::string& address,
                     int count, const std::string& greeting) {
  std::vector<Socket> sockets;
  for (int i = 0; i < count && !attack.Over(); ++i) {
    sockets.emplace_back(address);
    if (!greeting.empty()) sockets.back().SendSome(greeting);
  }
  attack.Hold();
}

void SilentConnections(const Attack& attack) {
  HoldConnections(attack, attack.grpc_address(), volumes().connections, "");
}

void IdleConnections(const Attack& attack) {
  HoldConnections(attack, attack.grpc_address(), volumes().connections,
                  std::string(kPreface) + SettingsFrame({}));
}

void SilentHttpConnections(const Attack& attack) {
  HoldConnections(attack, attack.http_address(), volumes().connections, "");
}

constexpr int kFewDescriptors = 64;

// More connections than the server has descriptors.
void AllDescriptors(const Attack& attack) {
  HoldConnections(attack, attack.grpc_address(), 2 * kFewDescriptors,
                  std::string(kPreface) + SettingsFrame({}));
}

// Connects and goes, again and again.
void Reconnections(const Attack& attack) {
  for (int i = 0; i < 10 * volumes().connections && !attack.Over(); ++i) {
    Socket socket(attack.grpc_address());
    socket.SendSome(i % 2 == 0 ? kPreface : kPreface.substr(0, 7));
  }
  attack.Hold();
}

// Sends what is no preface of HTTP/2 and reads what comes.
void BadPrefaces(const Attack& attack) {
  const std::vector<std::string> greetings = {
      std::string(5000, '\0'),
      std::string(5000, 'x'),
      "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
      std::string(kPreface) + std::string(5000, '\xff'),
      std::string(kPreface) + Frame(FrameType::kPing, 0, 0, "12345678"),
      std::string(kPreface) + std::string(kPreface),
      // The beginning of a TLS handshake.
      {'\x16', '\x03', '\x01', '\x02', '\0', '\x01', '\0', '\x01', '\xfc',
       '\x03', '\x03'},
      "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
      std::string("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n") +
          "Connection: Upgrade\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
      "POST /vit.v1.Classifier/Classify HTTP/1.1\r\nHost: a\r\n"
      "Content-Length: 1000000\r\n\r\n" +
          std::string(60000, 'a')};
  for (const std::string& greeting : greetings) {
    if (attack.Over()) return;
    Socket socket(attack.grpc_address());
    socket.Send(greeting, attack.over());
    const IsOver late = After(std::chrono::milliseconds(200));
    std::string answer;
    while (!late() && socket.WaitForInput(late) &&
           socket.Receive(&answer, 65536)) {
      answer.clear();
    }
  }
  attack.Hold();
}

TEST(ConnectionPeersTest, SilentConnectionsDoNoHarm) {
  ExpectHarmless("TCP: silent connections to gRPC", &SilentConnections);
}

TEST(ConnectionPeersTest, IdleConnectionsDoNoHarm) {
  ExpectHarmless("TCP: idle connections to gRPC", &IdleConnections);
}

TEST(ConnectionPeersTest, SilentHttpConnectionsDoNotSilenceProbes) {
  ExpectHarmless("TCP: silent connections to HTTP", &SilentHttpConnections);
}

TEST(ConnectionPeersTest, ClientsThatConnectAndGoDoNoHarm) {
  ExpectHarmless("TCP: connect and go", &Reconnections);
}

TEST(ConnectionPeersTest, BadPrefacesAreRefused) {
  ExpectHarmless("TCP: HTTP/1 and garbage to gRPC", &BadPrefaces);
}

// CVE-2023-4785.
TEST(ConnectionPeersTest, CallsAreServedAgainAfterDescriptorsRanOut) {
  ExpectHarmless("TCP: all descriptors taken by idle connections",
                 &AllDescriptors,
                 {.descriptors = kFewDescriptors, .no_probes = true});
}

// Every family at once, over and over, for some seconds.
void Everything(const Attack& attack) {
  std::vector<NamedMisbehaviour> all = ConnectionMisbehaviours();
  for (const auto& more :
       {HttpMisbehaviours(), MessageMisbehaviours(), StreamMisbehaviours(),
        FrameMisbehaviours(), HeaderMisbehaviours()}) {
    all.insert(all.end(), more.begin(), more.end());
  }
  std::vector<std::jthread> peers;
  for (const NamedMisbehaviour& one : all) {
    peers.emplace_back([&attack, act = one.act] {
      while (!attack.Over()) act(attack);
    });
  }
}

TEST(AllPeersTest, AllAtOnceDoNoHarm) {
  ExpectHarmless("all at once", &Everything,
                 {.longest_attack = volumes().mixture});
}

}  // namespace

std::vector<NamedMisbehaviour> ConnectionMisbehaviours() {
  return {{"silent connections", &SilentConnections},
          {"idle connections", &IdleConnections},
          {"silent HTTP connections", &SilentHttpConnections},
          {"reconnections", &Reconnections},
          {"bad prefaces", &BadPrefaces}};
}

}  // namespace vit::hostile
