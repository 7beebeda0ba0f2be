#ifndef MNIST_VIT_TESTS_HOSTILE_HTTP2_H_
#define MNIST_VIT_TESTS_HOSTILE_HTTP2_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// The bytes of HTTP/2 (RFC 9113), HPACK (RFC 7541) and gRPC's messages, whether
// or not they make sense. Pure functions.
namespace vit::hostile {

inline constexpr std::string_view kPreface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

enum class FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kRstStream = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
  kUnknown = 0xbe,
};

inline constexpr uint8_t kEndStream = 0x1;
inline constexpr uint8_t kAck = 0x1;
inline constexpr uint8_t kEndHeaders = 0x4;

inline constexpr size_t kFrameHead = 9;
// The largest payload that a server takes unless it says otherwise.
inline constexpr size_t kLargestFrame = 16384;

enum class Setting : uint16_t {
  kHeaderTableSize = 1,
  kMaxConcurrentStreams = 3,
  kInitialWindowSize = 4,
  kMaxFrameSize = 5,
};
using Settings = std::vector<std::pair<Setting, uint32_t>>;
using Headers = std::vector<std::pair<std::string, std::string>>;

// Big-endian, the lowest `bytes` bytes of `value`.
std::string BigEndian(uint64_t value, int bytes);

// The nine bytes before a payload of `length` bytes.
std::string FrameHead(FrameType type, uint8_t flags, uint32_t stream,
                      size_t length);
std::string Frame(FrameType type, uint8_t flags, uint32_t stream,
                  std::string_view payload);
std::string SettingsFrame(const Settings& settings);
std::string RstStream(uint32_t stream);
std::string WindowUpdate(uint32_t stream, uint32_t increment);

// An integer of HPACK behind the bits that `first` already has.
std::string HpackInteger(uint8_t first, int prefix_bits, uint64_t value);
// A header as a literal: neither indexed nor in Huffman's code.
std::string Literal(std::string_view name, std::string_view value);
// The same, but kept in the server's table.
std::string IndexedLiteral(std::string_view name, std::string_view value);
std::string HeaderBlock(const Headers& headers);
// What a gRPC client sends to call `path`, such as
// "/vit.v1.Classifier/Classify".
Headers GrpcHeaders(const std::string& path);

// The five bytes before a gRPC message.
std::string GrpcPrefix(uint32_t length, bool compressed = false);
std::string GrpcMessage(std::string_view message);

// A field of protobuf that holds bytes: its tag and its length, without them.
std::string BytesFieldHead(int field, uint64_t length);

}  // namespace vit::hostile

#endif  // MNIST_VIT_TESTS_HOSTILE_HTTP2_H_
