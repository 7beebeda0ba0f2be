#include "server/rpc/connection_table.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <string>

#include "server/base/file_descriptor.h"
#include "tests/server/rpc/fake_observer.h"

namespace vit {
namespace {

using Rule = RpcObserver::Rule;

// Both ends of a TCP connection.
struct Pair {
  Pair() {
    const FileDescriptor listener(socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    auto* const name = reinterpret_cast<sockaddr*>(&address);
    EXPECT_EQ(bind(listener.get(), name, size), 0);
    EXPECT_EQ(listen(listener.get(), 1), 0);
    EXPECT_EQ(getsockname(listener.get(), name, &size), 0);
    EXPECT_EQ(connect(peer.get(), name, size), 0);
    server = FileDescriptor(accept(listener.get(), nullptr, nullptr));
    EXPECT_EQ(fcntl(peer.get(), F_SETFL, O_NONBLOCK), 0);
  }

  FileDescriptor peer{socket(AF_INET, SOCK_STREAM, 0)};
  FileDescriptor server;
};

class ConnectionTableTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kFirst = 7;
  static constexpr uint64_t kSecond = 8;

  ConnectionTableTest() {
    for (const uint64_t id : {kFirst, kSecond}) {
      table_.Add(id, FileDescriptor(dup(pairs_[id].server.get())));
    }
  }

  // The peer sends, and the server reads. Loopback loses no time in between.
  void Send(uint64_t id, uint64_t bytes) {
    std::string part(16 << 10, 'x');
    for (; bytes > 0; bytes -= part.size()) {
      part.resize(std::min<uint64_t>(bytes, part.size()));
      ASSERT_EQ(send(pairs_[id].peer.get(), part.data(), part.size(), 0),
                std::ssize(part));
      ASSERT_EQ(
          recv(pairs_[id].server.get(), part.data(), part.size(), MSG_WAITALL),
          std::ssize(part));
    }
  }
  void Answer(uint64_t id) {
    char byte = 'a';
    ASSERT_EQ(send(pairs_[id].server.get(), &byte, 1, 0), 1);
    pollfd waits{.fd = pairs_[id].peer.get(), .events = POLLIN, .revents = 0};
    ASSERT_EQ(poll(&waits, 1, -1), 1);
    ASSERT_EQ(recv(pairs_[id].peer.get(), &byte, 1, 0), 1);
  }
  void Tick(bool is_stalled, int times = ConnectionTable::kTicks) {
    for (int i = 0; i < times; ++i) table_.OnTick(is_stalled);
  }
  bool IsEnded(uint64_t id) {
    char byte = 0;
    return recv(pairs_[id].peer.get(), &byte, 1, 0) == 0;
  }

  std::map<uint64_t, Pair> pairs_;
  testing::FakeObserver observer_;
  ConnectionTable table_{&observer_};
};

TEST_F(ConnectionTableTest, InAStallTheOneThatIsReadSlowlyIsEnded) {
  Tick(false);
  Send(kFirst, ConnectionTable::kStalling);
  Send(kSecond, ConnectionTable::kStalling);
  Tick(true, 1);
  Send(kFirst, 1);
  Tick(true, ConnectionTable::kTicks - 2);
  EXPECT_FALSE(IsEnded(kFirst));
  Tick(true, 1);
  EXPECT_TRUE(IsEnded(kFirst));
  // Nothing was read from it: it waits for the thread as others do.
  EXPECT_FALSE(IsEnded(kSecond));
  EXPECT_EQ(observer_.refused(Rule::kStall), 1);
  EXPECT_EQ(table_.size(), 1);
}

TEST_F(ConnectionTableTest, InAStallLargeMessagesMayBeRead) {
  Tick(false);
  Tick(true, 1);
  Send(kFirst, ConnectionTable::kReadPerTick * ConnectionTable::kTicks);
  Tick(true, ConnectionTable::kTicks - 1);
  EXPECT_FALSE(IsEnded(kFirst));
}

TEST_F(ConnectionTableTest, InAStallOneThatHasSentLittleMayGoOn) {
  Tick(false);
  Tick(true, 1);
  Send(kFirst, ConnectionTable::kStalling - 1);
  Tick(true);
  EXPECT_FALSE(IsEnded(kFirst));
}

TEST_F(ConnectionTableTest, AsLongAsTheStallLastsMoreAreEnded) {
  Tick(true);
  Send(kFirst, ConnectionTable::kStalling);
  Tick(true, 1);
  EXPECT_TRUE(IsEnded(kFirst));
  Send(kSecond, ConnectionTable::kStalling);
  Tick(true, 1);
  EXPECT_TRUE(IsEnded(kSecond));
}

TEST_F(ConnectionTableTest, WithoutAStallNoneIsEnded) {
  for (int i = 0; i < 5; ++i) {
    Send(kFirst, ConnectionTable::kStalling);
    Tick(true, ConnectionTable::kTicks - 1);
    Tick(false);
  }
  EXPECT_FALSE(IsEnded(kFirst));
}

TEST_F(ConnectionTableTest, OneThatIsAnsweredMaySendOn) {
  for (int i = 0; i < 5; ++i) {
    Send(kFirst, ConnectionTable::kStalling - 1);
    Answer(kFirst);
    Tick(true, 1);
  }
  EXPECT_FALSE(IsEnded(kFirst));
  table_.RelievePressure();
  EXPECT_FALSE(IsEnded(kFirst));
}

TEST_F(ConnectionTableTest, UnderPressureTheOneThatIsNotAnsweredIsEnded) {
  Tick(false);
  Send(kFirst, ConnectionTable::kFilling);
  Send(kSecond, ConnectionTable::kFilling);
  Answer(kSecond);
  table_.RelievePressure();
  EXPECT_TRUE(IsEnded(kFirst));
  EXPECT_FALSE(IsEnded(kSecond));
  EXPECT_EQ(observer_.refused(Rule::kMemoryPressure), 1);
}

TEST_F(ConnectionTableTest, TheReaderOfOneThatIsEndedFindsTheEndAtOnce) {
  ASSERT_EQ(send(pairs_[kFirst].peer.get(), "abc", 3, 0), 3);
  table_.End(kFirst, Rule::kStall);
  char byte = 0;
  EXPECT_EQ(recv(pairs_[kFirst].server.get(), &byte, 1, MSG_DONTWAIT), 0);
}

TEST_F(ConnectionTableTest, OneThatHasGoneIsNotEnded) {
  Tick(true);
  Send(kFirst, ConnectionTable::kStalling);
  table_.Remove(kFirst);
  Tick(true);
  table_.End(kFirst, Rule::kStall);
  EXPECT_FALSE(IsEnded(kFirst));
  EXPECT_EQ(observer_.refused(Rule::kStall), 0);
}

}  // namespace
}  // namespace vit
