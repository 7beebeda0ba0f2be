#include "server/base/listening_socket.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "server/base/file_descriptor.h"

namespace vit {
namespace {

namespace fs = std::filesystem;
using ::testing::EndsWith;
using ::testing::HasSubstr;

absl::Status StatusOf(const std::string& address) {
  return ListeningSocket::Open(address, "gRPC").status();
}

int ConnectTcp(int port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const FileDescriptor peer(socket(AF_INET, SOCK_STREAM, 0));
  return connect(peer.get(), reinterpret_cast<sockaddr*>(&to), sizeof(to));
}

TEST(ListeningSocketTest, PortZeroPicksAFreePort) {
  const auto listening = ListeningSocket::Open("127.0.0.1:0", "gRPC");
  ASSERT_TRUE(listening.ok()) << listening.status();
  EXPECT_GT(listening->port(), 0);
  EXPECT_EQ(listening->family(), AF_INET);
  EXPECT_EQ(listening->address(),
            "127.0.0.1:" + std::to_string(listening->port()));
  EXPECT_EQ(ConnectTcp(listening->port()), 0);
}

TEST(ListeningSocketTest, ATakenPortIsUnavailable) {
  const auto first = ListeningSocket::Open("127.0.0.1:0", "gRPC");
  ASSERT_TRUE(first.ok());
  const absl::Status second = StatusOf(first->address());
  EXPECT_EQ(second.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.message()),
              HasSubstr("cannot listen for gRPC on " + first->address()));
}

TEST(ListeningSocketTest, AnAddressOfAnotherFormIsInvalid) {
  for (const char* address :
       {"", "50051", ":50051", "[]:1", "unix:", "unix:relative.sock",
        "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:-1", "127.0.0.1:65536"}) {
    EXPECT_EQ(StatusOf(address).code(), absl::StatusCode::kInvalidArgument)
        << address;
  }
}

TEST(ListeningSocketTest, WhoReleasesItClosesIt) {
  auto listening = ListeningSocket::Open("127.0.0.1:0", "gRPC");
  ASSERT_TRUE(listening.ok());
  const FileDescriptor mine(listening->Release());
  EXPECT_TRUE(mine.valid());
  EXPECT_LT(listening->descriptor(), 0);
  EXPECT_LT(listening->Release(), 0);
  EXPECT_EQ(ConnectTcp(listening->port()), 0);
}

class UnixSocketTest : public ::testing::Test {
 protected:
  UnixSocketTest() {
    std::string name = (fs::temp_directory_path() / "unixXXXXXX").string();
    folder_ = mkdtemp(name.data());
    path_ = folder_ / "vit.sock";
    address_ = "unix:" + path_.string();
  }
  ~UnixSocketTest() override { fs::remove_all(folder_); }

  sockaddr_un Name() const {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    path_.string().copy(name.sun_path, sizeof(name.sun_path) - 1);
    return name;
  }
  // A socket that is connected, or has errno said why not.
  FileDescriptor Connect() const {
    const sockaddr_un name = Name();
    FileDescriptor peer(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0));
    if (connect(peer.get(), reinterpret_cast<const sockaddr*>(&name),
                sizeof(name)) != 0) {
      return {};
    }
    return peer;
  }
  // A socket that another program made.
  FileDescriptor Bind() const {
    const sockaddr_un name = Name();
    FileDescriptor other(socket(AF_UNIX, SOCK_STREAM, 0));
    EXPECT_EQ(bind(other.get(), reinterpret_cast<const sockaddr*>(&name),
                   sizeof(name)),
              0);
    return other;
  }

  fs::path folder_;
  fs::path path_;
  std::string address_;
};

TEST_F(UnixSocketTest, ItsFileGoesWithIt) {
  {
    auto listening = ListeningSocket::Open(address_, "HTTP");
    ASSERT_TRUE(listening.ok()) << listening.status();
    EXPECT_EQ(listening->port(), 0);
    EXPECT_EQ(listening->family(), AF_UNIX);
    const ListeningSocket moved(*std::move(listening));
    EXPECT_TRUE(Connect().valid());
    EXPECT_TRUE(fs::exists(path_));
  }
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(UnixSocketTest, WhatADeadProcessLeftIsReplaced) {
  {
    const FileDescriptor dead = Bind();
  }
  ASSERT_TRUE(fs::exists(path_));
  const auto listening = ListeningSocket::Open(address_, "HTTP");
  EXPECT_TRUE(listening.ok()) << listening.status();
  EXPECT_TRUE(Connect().valid());
}

TEST_F(UnixSocketTest, AnotherProcessThatListensKeepsItsSocket) {
  const auto first = ListeningSocket::Open(address_, "HTTP");
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(StatusOf(address_).code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(Connect().valid());
}

TEST_F(UnixSocketTest,
       AnotherProcessThatListensButAcceptsNobodyIsNotWaitedFor) {
  const FileDescriptor other = Bind();
  ASSERT_EQ(listen(other.get(), 0), 0);
  std::vector<FileDescriptor> waiting;
  while (waiting.empty() || waiting.back().valid()) {
    waiting.push_back(Connect());
  }
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(StatusOf(address_).code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(fs::exists(path_));
}

TEST_F(UnixSocketTest, AFileThatIsNoSocketIsLeftAlone) {
  std::ofstream(path_) << "precious";
  EXPECT_EQ(StatusOf(address_).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(fs::file_size(path_), 8);
}

TEST_F(UnixSocketTest, ASocketThatCameLaterIsLeftAlone) {
  FileDescriptor later;
  {
    const auto listening = ListeningSocket::Open(address_, "HTTP");
    ASSERT_TRUE(listening.ok());
    fs::rename(path_, folder_ / "old.sock");
    later = Bind();
  }
  EXPECT_TRUE(fs::exists(path_));
}

TEST_F(UnixSocketTest, ATooLongPathIsInvalid) {
  const absl::Status status = StatusOf("unix:/" + std::string(200, 'x'));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("found 201 in"));
  EXPECT_THAT(std::string(status.message()), EndsWith("'"));
}

}  // namespace
}  // namespace vit
