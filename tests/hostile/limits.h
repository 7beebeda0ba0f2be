#ifndef MNIST_VIT_TESTS_HOSTILE_LIMITS_H_
#define MNIST_VIT_TESTS_HOSTILE_LIMITS_H_

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string_view>

// Every threshold and every volume of the hostile tests, in one place.
namespace vit::hostile {

inline constexpr int64_t kMiB = int64_t{1} << 20;

// What the server must keep to, whatever its peers do.
inline constexpr int64_t kMostResidentBytes = 256 * kMiB;
inline constexpr int kMostThreads = 40;
// An orchestrator's probe gives up after this.
inline constexpr std::chrono::milliseconds kProbePatience{1000};
// The deadline of each call of the honest client.
inline constexpr std::chrono::seconds kCallDeadline{5};
// After an attack a new client is served within this.
inline constexpr std::chrono::seconds kRecovery{5};
// The end, once the drain has let the last answer time out.
inline constexpr std::chrono::seconds kExitSlack{5};
// The honest client's p99 under attack may be this times that at rest, and
// slowdown_slack_ms more. The aim is 5 times; the rest is because the attacker
// and the server share a machine.
inline constexpr double kMostSlowdown = 20;

// The attack is called off above this, so that the machine survives it.
inline constexpr int64_t kCallOffBytes = 3 * 1024 * kMiB;

// The options that the server is started with, where it knows them.
inline constexpr int kWriteTimeoutSeconds = 2;
inline constexpr int kMessageTimeoutSeconds = 5;
inline constexpr int kDrainTimeoutSeconds = 15;

// The largest message that the server takes by default, in bytes.
inline constexpr int64_t kLargestMessage = 4 * kMiB;
// Streams that a peer opens on one connection: gRPC's server allows as many.
inline constexpr int kStreamsPerConnection = 100;

// How much each attack does. Bytes and counts are for the whole attack, unless
// their name says otherwise.
struct Volumes {
  std::chrono::seconds longest_attack;
  bool judges_latency;
  double slowdown_slack_ms;
  // A peer gives up where the server takes nothing for so long.
  std::chrono::seconds stall;
  int calls_at_rest;       // of the honest client, before the attack
  int calls_during_hold;   // of the honest client, while the attack holds on
  int probes_during_hold;  // of each path
  int64_t body_bytes;      // of one HTTP request
  int64_t header_bytes;    // of one HTTP header line, or HTTP/2 header block
  int64_t inflated_bytes;  // of one compressed message
  int half_sent_streams;   // on each of kConnections
  int wrong_images;        // on each of kConnections
  int reflection_streams;
  int watches;
  int idle_streams;
  int connections;  // of peers that connect and stay silent
  int half_sent_requests;
  int requests;  // of a flood of HTTP requests
  int frames;    // of a flood of small HTTP/2 frames
  int resets;
  int unread_calls;  // on each of kConnections
  int large_calls;
  int malformed_calls;
  int slow_connections;
  std::chrono::seconds mixture;
};

inline constexpr int kConnections = 6;

inline constexpr Volumes kShortForm = {

    .longest_attack = std::chrono::seconds(4),
    .judges_latency = false,
    // So few calls that the p99 is the slowest of them.
    .slowdown_slack_ms = 1000,
    .stall = std::chrono::seconds(1),
    .calls_at_rest = 100,
    .calls_during_hold = 50,
    .probes_during_hold = 3,
    .body_bytes = 400'000'000,
    .header_bytes = 400'000'000,
    .inflated_bytes = 512 * kMiB,
    .half_sent_streams = 20,
    .wrong_images = 32,
    .reflection_streams = 100,
    .watches = 200,
    .idle_streams = 400,
    .connections = 200,
    .half_sent_requests = 50,
    .requests = 500,
    .frames = 50'000,
    .resets = 10'000,
    .unread_calls = 50,
    .large_calls = 60,
    .malformed_calls = 200,
    .slow_connections = 50,
    .mixture = std::chrono::seconds(3)};

inline constexpr Volumes kFullForm = {
    .longest_attack = std::chrono::seconds(40),
    .judges_latency = true,
    .slowdown_slack_ms = 50,
    .stall = std::chrono::seconds(5),
    .calls_at_rest = 1000,
    .calls_during_hold = 1000,
    .probes_during_hold = 10,
    .body_bytes = 1'500'000'000,
    .header_bytes = 800'000'000,
    .inflated_bytes = 1536 * kMiB,
    .half_sent_streams = 100,
    .wrong_images = 64,
    .reflection_streams = 500,
    .watches = 1000,
    .idle_streams = 1000,
    .connections = 1000,
    .half_sent_requests = 1000,
    .requests = 20'000,
    .frames = 2'000'000,
    .resets = 300'000,
    .unread_calls = 100,
    .large_calls = 600,
    .malformed_calls = 5'000,
    .slow_connections = 100,
    .mixture = std::chrono::seconds(20)};

// Whether VIT_HOSTILE=full asks for the volumes of docs/reliability.md.
inline bool FullForm() {
  const char* const form = std::getenv("VIT_HOSTILE");
  return form != nullptr && std::string_view(form) == "full";
}

inline const Volumes& volumes() { return FullForm() ? kFullForm : kShortForm; }

}  // namespace vit::hostile

#endif  // MNIST_VIT_TESTS_HOSTILE_LIMITS_H_
