#include "tests/hostile/http2_peer.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "tests/hostile/limits.h"

namespace vit::hostile {
namespace {

uint64_t FromBigEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<uint8_t>(byte);
  return value;
}

std::string_view Zeros() {
  static const auto& zeros = *new std::string(kLargestFrame, '\0');
  return zeros;
}

}  // namespace

Http2Peer::Http2Peer(const std::string& address, IsOver over,
                     const Settings& settings)
    : over_(std::move(over)), socket_(address) {
  Send(std::string(kPreface) + SettingsFrame(settings));
}

bool Http2Peer::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t count = socket_.SendSome(bytes);
    if (count < 0) return false;
    bytes.remove_prefix(static_cast<size_t>(count));
    if (bytes.empty()) break;
    if (over_()) return false;
    Read();
    if (count == 0) socket_.WaitForRoom(/*input_too=*/true);
  }
  return open();
}

bool Http2Peer::SendBlindly(std::string_view bytes, const IsOver& late) {
  return socket_.Send(bytes, [&] { return late() || over_(); });
}

uint32_t Http2Peer::NextStream() {
  return std::exchange(next_stream_, next_stream_ + 2);
}

uint32_t Http2Peer::StartCall(const std::string& path, const Headers& more) {
  const uint32_t stream = NextStream();
  window_change_[stream] = 0;
  const std::string block = HeaderBlock(GrpcHeaders(path)) + HeaderBlock(more);
  const bool sent =
      Send(Frame(FrameType::kHeaders, kEndHeaders, stream, block));
  return sent ? stream : 0;
}

bool Http2Peer::SendMessage(uint32_t stream, std::string_view message,
                            bool end) {
  return SendData(stream, GrpcMessage(message), end);
}

int64_t Http2Peer::Window(uint32_t stream) const {
  const auto change = window_change_.find(stream);
  if (change == window_change_.end()) return 0;
  return std::min(connection_window_, initial_window_ + change->second);
}

bool Http2Peer::SendData(uint32_t stream, std::string_view bytes, bool end) {
  IsOver stalled = After(volumes().stall);
  while (!bytes.empty()) {
    if (!window_change_.contains(stream)) return false;  // the server ended it
    const size_t count =
        std::min({bytes.size(), kLargestFrame,
                  static_cast<size_t>(std::max<int64_t>(Window(stream), 0))});
    if (count == 0) {
      if (stalled() || !ReadMoreUntil(stalled)) return false;
      continue;
    }
    stalled = After(volumes().stall);
    const uint8_t flags = end && count == bytes.size() ? kEndStream : 0;
    if (!Send(FrameHead(FrameType::kData, flags, stream, count)) ||
        !Send(bytes.substr(0, count))) {
      return false;
    }
    connection_window_ -= static_cast<int64_t>(count);
    window_change_[stream] -= static_cast<int64_t>(count);
    bytes.remove_prefix(count);
  }
  Read();
  return open();
}

bool Http2Peer::SendZeros(uint32_t stream, int64_t count, bool end) {
  while (count > 0) {
    const auto part =
        static_cast<size_t>(std::min<int64_t>(count, kLargestFrame));
    count -= static_cast<int64_t>(part);
    if (!SendData(stream, Zeros().substr(0, part), end && count == 0)) {
      return false;
    }
  }
  return true;
}

int64_t Http2Peer::SendSomeZeros(uint32_t stream, int64_t most) {
  const int64_t count =
      std::min({most, static_cast<int64_t>(kLargestFrame), Window(stream)});
  if (count <= 0) return open() ? 0 : -1;
  return SendZeros(stream, count) ? count : -1;
}

void Http2Peer::Read() {
  while (open()) {
    const size_t before = unread_.size();
    if (!socket_.Receive(&unread_, 4 * kLargestFrame)) socket_.Close();
    if (unread_.size() == before) break;
    std::string_view rest = unread_;
    while (rest.size() >= kFrameHead) {
      const size_t length = FromBigEndian(rest.substr(0, 3));
      if (rest.size() < kFrameHead + length) break;
      OnFrame(static_cast<FrameType>(rest[3]), static_cast<uint8_t>(rest[4]),
              static_cast<uint32_t>(FromBigEndian(rest.substr(5, 4))),
              rest.substr(kFrameHead, length));
      rest.remove_prefix(kFrameHead + length);
    }
    unread_.erase(0, unread_.size() - rest.size());
  }
}

bool Http2Peer::ReadMoreUntil(const IsOver& late) {
  if (!open()) return false;
  if (!socket_.WaitForInput([&] { return late() || over_(); })) return false;
  Read();
  return open() && !over_();
}

bool Http2Peer::WaitForSettings() {
  Read();
  while (!acknowledged_) {
    if (!ReadMore()) return acknowledged_;
  }
  return true;
}

bool Http2Peer::WaitForEnds(int64_t count) {
  Read();
  while (ended_ < count) {
    if (!ReadMore()) return ended_ >= count;
  }
  return true;
}

void Http2Peer::OnFrame(FrameType type, uint8_t flags, uint32_t stream,
                        std::string_view payload) {
  switch (type) {
    case FrameType::kSettings:
      if ((flags & kAck) == 0) OnSettings(payload);
      break;
    case FrameType::kPing:
      if ((flags & kAck) == 0) {
        SendBlindly(Frame(FrameType::kPing, kAck, 0, payload), over_);
      }
      break;
    case FrameType::kWindowUpdate: {
      const auto more = static_cast<int64_t>(FromBigEndian(payload));
      if (stream == 0) {
        connection_window_ += more;
      } else if (window_change_.contains(stream)) {
        window_change_[stream] += more;
      }
      break;
    }
    case FrameType::kHeaders:
      if ((flags & kEndStream) != 0) OnStreamEnd(stream);
      break;
    case FrameType::kRstStream:
      OnStreamEnd(stream);
      break;
    case FrameType::kGoAway:
      refused_ = true;
      break;
    default:
      break;
  }
}

void Http2Peer::OnSettings(std::string_view payload) {
  for (; payload.size() >= 6; payload.remove_prefix(6)) {
    const auto id = static_cast<Setting>(FromBigEndian(payload.substr(0, 2)));
    if (id == Setting::kInitialWindowSize) {
      initial_window_ =
          static_cast<int64_t>(FromBigEndian(payload.substr(2, 4)));
    }
  }
  acknowledged_ = SendBlindly(Frame(FrameType::kSettings, kAck, 0, ""), over_);
}

void Http2Peer::OnStreamEnd(uint32_t stream) {
  refused_ = true;
  if (window_change_.erase(stream) > 0) ++ended_;
}

}  // namespace vit::hostile
