#include <gtest/gtest.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <string>
#include <thread>
#include <vector>

#include "tests/hostile/attack.h"
#include "tests/hostile/http2.h"
#include "tests/hostile/http2_peer.h"
#include "tests/hostile/limits.h"
#include "tests/hostile/methods.h"
#include "tests/hostile/scenario.h"

// Peers whose gRPC messages are too large, never whole, or no messages at all.
namespace vit::hostile {
namespace {

// One block of zeros, compressed so that it can be repeated: it refers to
// nothing before it.
std::string CompressedZeros(size_t count) {
  const std::vector<Bytef> zeros(count, 0);
  std::string out(count / 2 + 1024, '\0');
  z_stream stream{};
  // Raw deflate: the frame of gzip is written apart.
  deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, -15, 9,
               Z_DEFAULT_STRATEGY);
  stream.next_in = const_cast<Bytef*>(zeros.data());
  stream.avail_in = static_cast<uInt>(count);
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FULL_FLUSH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string LittleEndian32(uint64_t value) {
  std::string bytes = BigEndian(value & 0xffffffff, 4);
  std::reverse(bytes.begin(), bytes.end());
  return bytes;
}

// A gzip file that inflates to `mebibytes` MiB of zeros; a thousandth of that.
std::string GzipBomb(int64_t mebibytes) {
  const std::string block = CompressedZeros(kMiB);
  const std::vector<Bytef> zeros(kMiB, 0);
  const uLong block_crc =
      crc32(0, zeros.data(), static_cast<uInt>(zeros.size()));
  uLong crc = crc32(0, nullptr, 0);
  std::string file("\x1f\x8b\x08\0\0\0\0\0\0\x03", 10);
  for (int64_t i = 0; i < mebibytes; ++i) {
    file += block;
    crc = crc32_combine(crc, block_crc, kMiB);
  }
  file.append("\x03\0", 2);  // the last block: empty
  return file + LittleEndian32(crc) +
         LittleEndian32(static_cast<uint64_t>(mebibytes * kMiB));
}

void CompressedMessage(const Attack& attack) {
  const std::string bomb = GzipBomb(volumes().inflated_bytes / kMiB);
  Http2Peer peer(attack.grpc_address(), attack.over());
  const uint32_t stream =
      peer.StartCall(kClassify, {{"grpc-encoding", "gzip"}});
  peer.SendData(stream,
                GrpcPrefix(static_cast<uint32_t>(bomb.size()), true) + bomb,
                /*end=*/true);
  peer.WaitForEnds(1);
  attack.Hold();
}

// Sends on every stream what its window allows, in turn, until each has sent
// all but the last byte.
void SendAllButTheLastByte(Http2Peer& peer, const Attack& attack) {
  struct Part {
    uint32_t stream;
    int64_t left;
  };
  std::vector<Part> parts;
  for (int i = 0; i < volumes().half_sent_streams; ++i) {
    const uint32_t stream = peer.StartCall(kClassifyBatch);
    if (stream == 0 || !peer.SendData(stream, GrpcPrefix(kLargestMessage))) {
      break;
    }
    parts.push_back({.stream = stream, .left = kLargestMessage - 1});
  }
  while (!parts.empty() && peer.open() && !attack.Over()) {
    int64_t sent = 0;
    for (Part& part : parts) {
      const int64_t count = peer.SendSomeZeros(part.stream, part.left);
      if (count < 0) return;
      part.left -= count;
      sent += count;
    }
    std::erase_if(parts, [](const Part& part) { return part.left == 0; });
    const IsOver late = After(volumes().stall);
    if (sent == 0 && !peer.ReadMoreUntil(late)) return;
  }
}

void HalfSentBatches(const Attack& attack) {
  AtOnce(kConnections, [&attack] {
    Http2Peer peer(attack.grpc_address(), attack.over());
    SendAllButTheLastByte(peer, attack);
    attack.Hold();
  });
}

// The window of the answers is zero: not even the first goes out.
void WrongImagesUnread(const Attack& attack) {
  AtOnce(kConnections, [&attack] {
    Http2Peer peer(attack.grpc_address(), attack.over(),
                   {{Setting::kInitialWindowSize, 0}});
    const uint32_t stream = peer.StartCall(kClassifyStream);
    const int64_t size = kLargestMessage - 64;
    const std::string head = BytesFieldHead(2, static_cast<uint64_t>(size));
    for (int i = 0; i < volumes().wrong_images && !attack.Over(); ++i) {
      peer.SendData(
          stream,
          GrpcPrefix(static_cast<uint32_t>(std::ssize(head) + size)) + head);
      if (!peer.SendZeros(stream, size)) break;
    }
    attack.Hold();
  });
}

// Messages that say that they are larger than the server takes, and come as far
// as it lets them.
void TooLargeMessages(const Attack& attack) {
  const std::array<const char*, 4> methods = {kClassify, kClassifyBatch,
                                              kClassifyStream, kExplain};
  std::vector<std::jthread> threads;
  for (const char* const method : methods) {
    threads.emplace_back([&attack, method] {
      Http2Peer peer(attack.grpc_address(), attack.over());
      for (const uint32_t length :
           {uint32_t{kLargestMessage} + 1, 0x7fffffffu, 0xffffffffu}) {
        const uint32_t stream = peer.StartCall(method);
        if (stream == 0 || !peer.SendData(stream, GrpcPrefix(length))) continue;
        peer.SendZeros(stream, std::min<int64_t>(length, volumes().body_bytes));
      }
      attack.Hold();
    });
  }
}

// Whole messages that are as large as can be, at once and without a deadline.
void LargeImages(const Attack& attack) {
  const int on_each = volumes().large_calls / kConnections;
  AtOnce(kConnections, [&attack, on_each] {
    Http2Peer peer(attack.grpc_address(), attack.over());
    const int64_t size = kLargestMessage - 64;
    const std::string head = BytesFieldHead(1, static_cast<uint64_t>(size));
    for (int i = 0; i < on_each && !attack.Over(); ++i) {
      const uint32_t stream = peer.StartCall(kClassify);
      if (stream == 0) break;
      peer.SendData(
          stream,
          GrpcPrefix(static_cast<uint32_t>(std::ssize(head) + size)) + head);
      peer.SendZeros(stream, size, /*end=*/true);
    }
    attack.Hold();
  });
}

void MalformedMessages(const Attack& attack) {
  const std::vector<std::string> messages = {
      std::string(100, '\xff'),
      BytesFieldHead(1, 784),                        // cut off
      BytesFieldHead(1, uint64_t{1} << 62) + "abc",  // longer than all
      BytesFieldHead(0, 3) + "abc",                  // no such field
      std::string(100, '\x0b'),                      // groups without end
      std::string("\x0a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80", 12)};
  Http2Peer peer(attack.grpc_address(), attack.over());
  peer.Send(WindowUpdate(0, 1 << 30));  // for the streams' answers
  int64_t calls = 0;
  for (int i = 0; i < volumes().malformed_calls && !attack.Over(); ++i) {
    for (const char* const method : {kClassify, kClassifyBatch, kClassifyStream,
                                     kExplain, kHealthCheck, kReflection}) {
      const uint32_t stream = peer.StartCall(method);
      if (stream == 0) return;
      ++calls;
      peer.SendMessage(stream, messages[i % messages.size()], /*end=*/true);
    }
    peer.WaitForEnds(calls);
  }
  attack.Hold();
  EXPECT_EQ(peer.ended(), calls);
}

// Prefixes that say what no message is.
void MalformedPrefixes(const Attack& attack) {
  Http2Peer peer(attack.grpc_address(), attack.over());
  int64_t calls = 0;
  for (int i = 0; i < volumes().malformed_calls && !attack.Over(); ++i) {
    const std::array<std::string, 4> data = {
        GrpcPrefix(10, true) + "no gzip at", BigEndian(0xff, 1) + "\1\2\3\4",
        std::string(3, '\0'), GrpcPrefix(0) + GrpcPrefix(0) + GrpcPrefix(0)};
    const uint32_t stream =
        peer.StartCall(kClassify, {{"grpc-encoding", i % 2 ? "gzip" : "x"}});
    if (stream == 0) return;
    ++calls;
    peer.SendData(stream, data[i % data.size()], /*end=*/true);
    peer.WaitForEnds(calls);
  }
  attack.Hold();
}

TEST(MessagePeersTest, ACompressedMessageIsNotInflatedBeyondTheLimit) {
  ExpectHarmless("gRPC: a gzip message that inflates a thousandfold",
                 &CompressedMessage);
}

TEST(MessagePeersTest, HalfSentMessagesAreNotKeptWithoutBound) {
  ExpectHarmless("gRPC: ClassifyBatch messages that never end",
                 &HalfSentBatches);
}

TEST(MessagePeersTest, WrongImagesWhoseAnswersNobodyReadsAreNotKept) {
  ExpectHarmless("gRPC: streams of large wrong images, answers unread",
                 &WrongImagesUnread);
}

TEST(MessagePeersTest, TooLargeMessagesAreNotKept) {
  ExpectHarmless("gRPC: messages over the limit", &TooLargeMessages);
}

TEST(MessagePeersTest, LargeImagesWithoutDeadlineAreRefused) {
  ExpectHarmless("gRPC: Classify of 4 MiB, no deadline", &LargeImages);
}

TEST(MessagePeersTest, MalformedMessagesAreRefused) {
  ExpectHarmless("gRPC: malformed messages", &MalformedMessages);
}

TEST(MessagePeersTest, MalformedPrefixesAreRefused) {
  ExpectHarmless("gRPC: malformed prefixes", &MalformedPrefixes);
}

}  // namespace

std::vector<NamedMisbehaviour> MessageMisbehaviours() {
  return {{"compressed message", &CompressedMessage},
          {"half-sent batches", &HalfSentBatches},
          {"wrong images unread", &WrongImagesUnread},
          {"too large messages", &TooLargeMessages},
          {"large images", &LargeImages},
          {"malformed prefixes", &MalformedPrefixes}};
}

}  // namespace vit::hostile
