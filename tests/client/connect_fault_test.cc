#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <vector>

#include "client/classifier_client.h"
#include "client/classify_stream.h"
#include "tests/client/fake_service.h"

// gRPC 1.51 looks at errno only some time after connect() and so may take a
// connection that is under way for one that failed (grpc#35064): the first
// contended lock of a process lets Abseil look for files of /sys that may not
// be there. These functions stand before the C library's and do just that.
namespace {

std::atomic<int> connections_to_spoil = 0;
thread_local bool spoil = false;

template <typename Function>
Function* NextInLine(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" int connect(int fd, const sockaddr* address, socklen_t size) {
  static auto* const kReal = NextInLine<decltype(connect)>("connect");
  const int result = kReal(fd, address, size);
  const int error = errno;
  spoil = result != 0 && error == EINPROGRESS &&
          connections_to_spoil.fetch_sub(1) > 0;
  errno = error;
  return result;
}

extern "C" int epoll_ctl(int epoll, int operation, int fd,
                         epoll_event* event) noexcept {
  static auto* const kReal = NextInLine<decltype(epoll_ctl)>("epoll_ctl");
  const int result = kReal(epoll, operation, fd, event);
  if (spoil) errno = ENOENT;
  spoil = false;
  return result;
}

namespace vit::client {
namespace {

using testing::FakeServer;

class ConnectFaultTest : public ::testing::Test {
 protected:
  ~ConnectFaultTest() override {
    EXPECT_LE(connections_to_spoil, 0) << "the fault did not occur";
    connections_to_spoil = 0;
  }

  FakeServer server_;
  const std::vector<uint8_t> image_{3};
};

TEST_F(ConnectFaultTest, CallsOutlastAConnectionThatIsTakenForFailed) {
  ClientOptions options;
  options.target = server_.address();
  const auto client = ClassifierClient::Create(options);
  connections_to_spoil = 1;
  const auto answer = (*client)->Classify(image_);
  EXPECT_TRUE(answer.ok()) << answer.status();
}

TEST_F(ConnectFaultTest, StreamsOutlastAConnectionThatIsTakenForFailed) {
  ClientOptions options;
  options.target = server_.address();
  absl::Status status = absl::UnknownError("not called");
  const auto stream = ClassifyStream::Create(
      options, {},
      [&](uint64_t, const absl::StatusOr<v1::ClassifyResponse>& answer) {
        status = answer.status();
      });
  connections_to_spoil = 1;
  (*stream)->Send(1, image_);
  (*stream)->Finish();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(ConnectFaultTest, TheCheckOfTheHealthOutlastsIt) {
  ClientOptions options;
  options.target = server_.address();
  const auto client = ClassifierClient::Create(options);
  connections_to_spoil = 1;
  const auto health = (*client)->CheckHealth();
  EXPECT_TRUE(health.ok()) << health.status();
}

}  // namespace
}  // namespace vit::client
