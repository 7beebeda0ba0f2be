#ifndef MNIST_VIT_TESTS_HOSTILE_HTTP2_PEER_H_
#define MNIST_VIT_TESTS_HOSTILE_HTTP2_PEER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "tests/hostile/http2.h"
#include "tests/hostile/socket.h"

namespace vit::hostile {

// One HTTP/2 connection that can send anything. It knows just enough of the
// protocol to go on: it acknowledges SETTINGS and PING, and counts how much
// DATA the server lets it send. It never lets the server send more than the
// windows that it was started with. Holds at most one frame in memory. Not
// thread-safe.
class Http2Peer {
 public:
  // Connects and sends the preface and `settings`. `over` says when whatever
  // waits must give up.
  Http2Peer(const std::string& address, IsOver over,
            const Settings& settings = {});

  // Whether both sides still hold the connection.
  bool open() const { return socket_.open(); }

  // Sends bytes as they are, and handles what comes meanwhile. False if the
  // connection is lost or `over` came first.
  bool Send(std::string_view bytes);

  // The same, but reads nothing, so that the server's answers pile up. Gives up
  // at `late`, too.
  bool SendBlindly(std::string_view bytes, const IsOver& late);

  // Waits until the server's SETTINGS have come and are acknowledged. Only then
  // do they bind this peer. False as ReadMore.
  bool WaitForSettings();

  // Starts a gRPC call, with `more` headers at the end. The stream's id; 0 if
  // the connection is lost.
  uint32_t StartCall(const std::string& path, const Headers& more = {});

  // The id that the next stream has; it then counts as used.
  uint32_t NextStream();

  // Sends `message` as one gRPC message and ends the stream, as `end` says.
  // Within the server's windows.
  bool SendMessage(uint32_t stream, std::string_view message, bool end);

  // Sends DATA within the server's windows, waiting for them. False if the
  // server ended the stream, or gave no window for volumes().stall.
  bool SendData(uint32_t stream, std::string_view bytes, bool end = false);

  // Sends `count` zeros as DATA, within the server's windows.
  bool SendZeros(uint32_t stream, int64_t count, bool end = false);

  // Sends as many zeros as the windows and the largest frame allow, at most
  // `most`, without waiting for windows. How many; -1 if the connection is
  // lost.
  int64_t SendSomeZeros(uint32_t stream, int64_t most);

  // Handles what has come.
  void Read();

  // Waits for more, and handles it. False if `over` came first or the
  // connection is lost.
  bool ReadMore() { return ReadMoreUntil(over_); }
  bool ReadMoreUntil(const IsOver& late);

  // Waits until the server has ended `count` streams in all.
  bool WaitForEnds(int64_t count);

  // Bytes of DATA that the server takes on this stream now.
  int64_t Window(uint32_t stream) const;

  // Streams that the server ended, by trailers or RST_STREAM.
  int64_t ended() const { return ended_; }
  // Whether the server ended any stream, or the connection.
  bool refused() const { return refused_; }

 private:
  void OnFrame(FrameType type, uint8_t flags, uint32_t stream,
               std::string_view payload);
  void OnSettings(std::string_view payload);
  void OnStreamEnd(uint32_t stream);

  const IsOver over_;
  Socket socket_;
  std::string unread_;
  uint32_t next_stream_ = 1;
  int64_t ended_ = 0;
  bool refused_ = false;
  bool acknowledged_ = false;
  int64_t initial_window_ = 65535;
  int64_t connection_window_ = 65535;
  // What was added to or taken from each open stream's initial window.
  std::unordered_map<uint32_t, int64_t> window_change_;
};

}  // namespace vit::hostile

#endif  // MNIST_VIT_TESTS_HOSTILE_HTTP2_PEER_H_
