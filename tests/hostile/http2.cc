#include "tests/hostile/http2.h"

namespace vit::hostile {

std::string BigEndian(uint64_t value, int bytes) {
  std::string result;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    result.push_back(static_cast<char>((value >> shift) & 0xff));
  }
  return result;
}

std::string FrameHead(FrameType type, uint8_t flags, uint32_t stream,
                      size_t length) {
  return BigEndian(length, 3) + BigEndian(static_cast<uint8_t>(type), 1) +
         BigEndian(flags, 1) + BigEndian(stream, 4);
}

std::string Frame(FrameType type, uint8_t flags, uint32_t stream,
                  std::string_view payload) {
  return FrameHead(type, flags, stream, payload.size()).append(payload);
}

std::string SettingsFrame(const Settings& settings) {
  std::string payload;
  for (const auto& [id, value] : settings) {
    payload += BigEndian(static_cast<uint16_t>(id), 2) + BigEndian(value, 4);
  }
  return Frame(FrameType::kSettings, 0, 0, payload);
}

std::string RstStream(uint32_t stream) {
  constexpr uint64_t kCancel = 8;
  return Frame(FrameType::kRstStream, 0, stream, BigEndian(kCancel, 4));
}

std::string WindowUpdate(uint32_t stream, uint32_t increment) {
  return Frame(FrameType::kWindowUpdate, 0, stream, BigEndian(increment, 4));
}

std::string HpackInteger(uint8_t first, int prefix_bits, uint64_t value) {
  const uint64_t most = (uint64_t{1} << prefix_bits) - 1;
  if (value < most) return BigEndian(first | value, 1);
  std::string result = BigEndian(first | most, 1);
  value -= most;
  for (; value >= 0x80; value >>= 7) {
    result.push_back(static_cast<char>(0x80 | (value & 0x7f)));
  }
  result.push_back(static_cast<char>(value));
  return result;
}

std::string Literal(std::string_view name, std::string_view value) {
  return (BigEndian(0, 1) + HpackInteger(0, 7, name.size()))
      .append(name)
      .append(HpackInteger(0, 7, value.size()))
      .append(value);
}

std::string IndexedLiteral(std::string_view name, std::string_view value) {
  std::string result = Literal(name, value);
  result[0] = 0x40;
  return result;
}

std::string HeaderBlock(const Headers& headers) {
  std::string block;
  for (const auto& [name, value] : headers) block += Literal(name, value);
  return block;
}

Headers GrpcHeaders(const std::string& path) {
  return {{":method", "POST"},      {":scheme", "http"},
          {":path", path},          {":authority", "localhost"},
          {"te", "trailers"},       {"content-type", "application/grpc"},
          {"user-agent", "hostile"}};
}

std::string GrpcPrefix(uint32_t length, bool compressed) {
  return BigEndian(compressed ? 1 : 0, 1) + BigEndian(length, 4);
}

std::string GrpcMessage(std::string_view message) {
  return GrpcPrefix(static_cast<uint32_t>(message.size())).append(message);
}

std::string BytesFieldHead(int field, uint64_t length) {
  constexpr uint64_t kLengthDelimited = 2;
  std::string result =
      BigEndian(static_cast<uint64_t>(field) << 3 | kLengthDelimited, 1);
  for (; length >= 0x80; length >>= 7) {
    result.push_back(static_cast<char>(0x80 | (length & 0x7f)));
  }
  result.push_back(static_cast<char>(length));
  return result;
}

}  // namespace vit::hostile
