#include "server/rpc/connection_acceptor.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/base/file_descriptor.h"
#include "tests/server/rpc/fake_observer.h"

namespace vit {
namespace {

namespace fs = std::filesystem;
using Rule = RpcObserver::Rule;

// Takes connections as gRPC would, and keeps them.
struct Connections {
  void Add(int descriptor) {
    std::lock_guard lock(mutex);
    descriptors.emplace_back(descriptor);
    changed.notify_all();
  }
  void WaitFor(size_t count) {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return descriptors.size() >= count; });
  }
  size_t count() {
    std::lock_guard lock(mutex);
    return descriptors.size();
  }
  int descriptor(size_t i) {
    std::lock_guard lock(mutex);
    return descriptors[i].get();
  }
  // As gRPC does: the peer is told even though others have the descriptor, too.
  void Close(size_t i) {
    std::lock_guard lock(mutex);
    shutdown(descriptors[i].get(), SHUT_RDWR);
    descriptors[i] = FileDescriptor();
  }

  std::mutex mutex;
  std::condition_variable changed;
  std::vector<FileDescriptor> descriptors;
};

// Whether something comes, or the end, within so many milliseconds.
bool HasInput(int descriptor, int milliseconds) {
  pollfd waits{.fd = descriptor, .events = POLLIN, .revents = 0};
  return poll(&waits, 1, milliseconds) == 1;
}

class FakeGrpc final : public grpc::experimental::ExternalConnectionAcceptor {
 public:
  // The first `reads` connections are read until their ends by the thread that
  // brings them.
  FakeGrpc(Connections* connections, int reads)
      : connections_(connections), reads_(reads) {}
  void HandleNewConnection(NewConnectionParameters* parameters) override {
    EXPECT_GE(parameters->listener_fd, 0);
    const int descriptor = parameters->fd;
    connections_->Add(descriptor);
    if (reads_.fetch_sub(1) <= 0) return;
    std::vector<char> bytes(1 << 20);
    while (HasInput(descriptor, -1) &&
           recv(descriptor, bytes.data(), bytes.size(), 0) > 0) {
    }
  }

 private:
  Connections* const connections_;
  std::atomic<int> reads_;
};

class ConnectionAcceptorTest : public ::testing::Test {
 protected:
  void Listen(size_t max_connections,
              const std::string& address = "127.0.0.1:0", int reads = 0) {
    auto acceptor =
        ConnectionAcceptor::Listen(address, max_connections, &observer_);
    ASSERT_TRUE(acceptor.ok()) << acceptor.status();
    acceptor_ = *std::move(acceptor);
    acceptor_->Start(std::make_unique<FakeGrpc>(&connections_, reads));
  }

  // A peer that is connected, or none.
  FileDescriptor Connect() {
    FileDescriptor peer(socket(AF_INET, SOCK_STREAM, 0));
    return ConnectThis(peer) ? std::move(peer) : FileDescriptor();
  }
  bool ConnectThis(const FileDescriptor& peer) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(acceptor_->port()));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect(peer.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to)) ==
           0;
  }

  // Whether the server ends the connection within so many milliseconds.
  static bool IsEnded(const FileDescriptor& peer, int milliseconds) {
    if (!HasInput(peer.get(), milliseconds)) return false;
    char byte = 0;
    return recv(peer.get(), &byte, 1, 0) <= 0;
  }
  static constexpr int kLong = 20'000;

  // Whether what the peer sends arrives.
  static bool IsJoined(const FileDescriptor& peer, int descriptor) {
    if (send(peer.get(), "x", 1, MSG_NOSIGNAL) != 1) return false;
    char byte = 0;
    return HasInput(descriptor, kLong) && recv(descriptor, &byte, 1, 0) == 1 &&
           byte == 'x';
  }

  testing::FakeObserver observer_;
  Connections connections_;
  std::unique_ptr<ConnectionAcceptor> acceptor_;
};

TEST_F(ConnectionAcceptorTest, AConnectionIsHandedOverAndCounted) {
  Listen(8);
  const FileDescriptor first = Connect();
  connections_.WaitFor(1);
  EXPECT_TRUE(IsJoined(first, connections_.descriptor(0)));
  const FileDescriptor second = Connect();
  connections_.WaitFor(2);
  EXPECT_TRUE(IsJoined(second, connections_.descriptor(1)));
  observer_.WaitForConnections(2);
}

TEST_F(ConnectionAcceptorTest, APeerThatGoesIsNoLongerCounted) {
  Listen(8);
  FileDescriptor peer = Connect();
  connections_.WaitFor(1);
  observer_.WaitForConnections(1);
  peer = FileDescriptor();
  observer_.WaitForConnections(0);
}

TEST_F(ConnectionAcceptorTest, WhatGrpcClosesIsClosedAndNoLongerCounted) {
  Listen(8);
  const FileDescriptor peer = Connect();
  connections_.WaitFor(1);
  connections_.Close(0);
  EXPECT_TRUE(IsEnded(peer, kLong));
  observer_.WaitForConnections(0);
}

TEST_F(ConnectionAcceptorTest, OneTooManyIsClosedAtOnceAndCounted) {
  Listen(1);
  const FileDescriptor first = Connect();
  connections_.WaitFor(1);
  ASSERT_TRUE(IsJoined(first, connections_.descriptor(0)));
  const FileDescriptor second = Connect();
  EXPECT_TRUE(IsEnded(second, kLong));
  EXPECT_EQ(observer_.refused(Rule::kConnectionLimit), 1);
  EXPECT_EQ(connections_.count(), 1);
  EXPECT_TRUE(IsJoined(first, connections_.descriptor(0)));
}

TEST_F(ConnectionAcceptorTest, ANewOneDisplacesTheOneThatIsSilentLongest) {
  Listen(2);
  const FileDescriptor talking = Connect();
  connections_.WaitFor(1);
  const FileDescriptor silent = Connect();
  connections_.WaitFor(2);
  // Nothing comes from it for more than a second.
  EXPECT_FALSE(IsEnded(silent, 1200));
  ASSERT_TRUE(IsJoined(talking, connections_.descriptor(0)));
  const FileDescriptor next = Connect();
  connections_.WaitFor(3);
  EXPECT_TRUE(IsEnded(silent, kLong));
  EXPECT_TRUE(IsJoined(talking, connections_.descriptor(0)));
  EXPECT_TRUE(IsJoined(next, connections_.descriptor(2)));
  EXPECT_EQ(observer_.refused(Rule::kConnectionLimit), 1);
  observer_.WaitForConnections(2);
}

// Lets this process open no more descriptors than it has, as long as it lives.
class NoMoreDescriptors {
 public:
  NoMoreDescriptors() {
    getrlimit(RLIMIT_NOFILE, &before_);
    rlimit none = before_;
    const FileDescriptor lowest_free(dup(0));
    none.rlim_cur = static_cast<rlim_t>(lowest_free.get());
    setrlimit(RLIMIT_NOFILE, &none);
  }
  ~NoMoreDescriptors() { setrlimit(RLIMIT_NOFILE, &before_); }

 private:
  rlimit before_{};
};

TEST_F(ConnectionAcceptorTest, ItAcceptsAgainOnceThereAreDescriptorsAgain) {
  Listen(8);
  const FileDescriptor peer(socket(AF_INET, SOCK_STREAM, 0));
  {
    const NoMoreDescriptors none;
    EXPECT_LT(dup(0), 0);
    ASSERT_TRUE(ConnectThis(peer));  // it waits in the backlog
    EXPECT_FALSE(IsEnded(peer, 250));
    EXPECT_EQ(connections_.count(), 0);
  }
  connections_.WaitFor(1);
  EXPECT_TRUE(IsJoined(peer, connections_.descriptor(0)));
  const FileDescriptor next = Connect();
  connections_.WaitFor(2);
}

TEST_F(ConnectionAcceptorTest, OnceItStopsTheOpenOnesGoOn) {
  Listen(8);
  const FileDescriptor open = Connect();
  connections_.WaitFor(1);
  acceptor_->StopAccepting();
  while (Connect().valid()) {
  }
  EXPECT_TRUE(IsJoined(open, connections_.descriptor(0)));
  EXPECT_FALSE(IsEnded(open, 0));
}

TEST_F(ConnectionAcceptorTest, ItsEndIsTheEndOfAllConnections) {
  Listen(8);
  const FileDescriptor peer = Connect();
  connections_.WaitFor(1);
  acceptor_.reset();
  EXPECT_TRUE(IsEnded(peer, kLong));
}

TEST_F(ConnectionAcceptorTest, OneThatNeverStartedEndsToo) {
  auto acceptor = ConnectionAcceptor::Listen("127.0.0.1:0", 8, &observer_);
  ASSERT_TRUE(acceptor.ok());
  EXPECT_GT((*acceptor)->port(), 0);
}

TEST_F(ConnectionAcceptorTest, OneThatKeepsItsThreadHoldsUpNoOther) {
  constexpr int kKept = 3;
  Listen(8, "127.0.0.1:0", kKept);
  std::vector<FileDescriptor> kept;
  for (int i = 0; i < kKept; ++i) kept.push_back(Connect());
  const FileDescriptor next = Connect();
  connections_.WaitFor(kKept + 1);
  for (const FileDescriptor& peer : kept) EXPECT_FALSE(IsEnded(peer, 0));
}

TEST_F(ConnectionAcceptorTest, OnceAllThreadsAreKeptOneIsTakenBack) {
  constexpr int kKept = ConnectionHandOver::kMostThreads;
  Listen(32, "127.0.0.1:0", kKept);
  std::vector<FileDescriptor> kept;
  for (int i = 0; i < kKept; ++i) kept.push_back(Connect());
  connections_.WaitFor(kKept);
  const FileDescriptor next = Connect();
  connections_.WaitFor(kKept + 1);
  int ended = 0;
  for (const FileDescriptor& peer : kept) ended += IsEnded(peer, 0) ? 1 : 0;
  EXPECT_GE(ended, 1);
  EXPECT_FALSE(IsEnded(next, 0));
}

TEST_F(ConnectionAcceptorTest, UnderPressureTheOneThatSendsMostIsEnded) {
  Listen(8, "127.0.0.1:0", /*reads=*/1);
  FileDescriptor flooder = Connect();
  connections_.WaitFor(1);
  const FileDescriptor other = Connect();
  connections_.WaitFor(2);
  const std::string bytes(1 << 20, 'x');
  std::atomic<bool> is_ended{false};
  std::jthread flood([&] {
    while (send(flooder.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) > 0) {
    }
    is_ended.store(true);
  });
  while (!is_ended.load()) {
    acceptor_->connections().RelievePressure();
    std::this_thread::yield();
  }
  EXPECT_TRUE(IsJoined(other, connections_.descriptor(1)));
  EXPECT_EQ(observer_.refused(Rule::kMemoryPressure), 1);
}

TEST_F(ConnectionAcceptorTest, AUnixSocketIsListenedOnToo) {
  std::string folder = (fs::temp_directory_path() / "acceptXXXXXX").string();
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/vit.sock";
  Listen(1, "unix:" + path);
  EXPECT_EQ(acceptor_->port(), 0);
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path.copy(name.sun_path, path.size());
  const auto connect_to = [&] {
    FileDescriptor peer(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_EQ(
        connect(peer.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)),
        0);
    return peer;
  };
  {
    const FileDescriptor peer = connect_to();
    connections_.WaitFor(1);
    EXPECT_TRUE(IsJoined(peer, connections_.descriptor(0)));
    const FileDescriptor second = connect_to();
    EXPECT_TRUE(IsEnded(second, kLong));
  }
  observer_.WaitForConnections(0);
  acceptor_.reset();
  EXPECT_FALSE(fs::exists(path));
  fs::remove_all(folder);
}

}  // namespace
}  // namespace vit
