#include "client/classify_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tests/client/fake_service.h"
#include "tests/client/unused_port.h"

namespace vit::client {
namespace {

using testing::FakeServer;
using ::testing::SizeIs;
using ::testing::StartsWith;

constexpr uint8_t kLabels = 10;

// What the stream is connected with.
constexpr uint8_t kFirstImage = 255;

// A stream and what came of its images. An image is one byte, its id the same.
class TestStream {
 public:
  // Connected, but for a server that does not answer.
  explicit TestStream(const ClientOptions& options, int max_in_flight = 64) {
    Create(options, max_in_flight);
    // Images may fail until it is.
    do {
      answers_.clear();
      Send(kFirstImage, kFirstImage);
    } while (!Answer(kFirstImage).ok());
    streams_before_ = stream_->streams();
  }

  static std::unique_ptr<TestStream> NotConnected(
      const ClientOptions& options) {
    std::unique_ptr<TestStream> stream(new TestStream);
    stream->Create(options, 64);
    return stream;
  }

  // Streams that were begun after the one that it was connected with.
  int resumptions() const { return stream_->streams() - streams_before_; }

  void Send(uint8_t first, uint8_t last) {
    for (int i = first; i <= last; ++i) {
      const std::vector<uint8_t> image(1, static_cast<uint8_t>(i));
      stream_->Send(i, image);
    }
  }

  // Waits for the answer to an image that was sent once.
  absl::Status Answer(uint64_t id) {
    stream_->Finish();
    const std::lock_guard lock(mutex_);
    EXPECT_THAT(answers_[id], SizeIs(1)) << "answers to image " << id;
    return answers_[id].empty() ? absl::InternalError("no answer")
                                : answers_[id][0].status();
  }

  // Waits for all answers, and expects that these images have the right one.
  void ExpectRight(uint8_t first, uint8_t last) {
    for (int id = first; id <= last; ++id) {
      EXPECT_TRUE(Answer(id).ok()) << id << ' ' << Answer(id);
      const std::lock_guard lock(mutex_);
      if (answers_[id].empty() || !answers_[id][0].ok()) continue;
      EXPECT_EQ(answers_[id][0]->label(), id % kLabels);
    }
  }

 private:
  TestStream() = default;

  void Create(const ClientOptions& options, int max_in_flight) {
    auto stream = ClassifyStream::Create(
        options, {.max_in_flight = max_in_flight},
        [this](uint64_t id, absl::StatusOr<v1::ClassifyResponse> answer) {
          const std::lock_guard lock(mutex_);
          answers_[id].push_back(std::move(answer));
        });
    EXPECT_TRUE(stream.ok()) << stream.status();
    stream_ = *std::move(stream);
  }

  std::mutex mutex_;
  std::map<uint64_t, std::vector<absl::StatusOr<v1::ClassifyResponse>>>
      answers_;
  int streams_before_ = 0;
  std::unique_ptr<ClassifyStream> stream_;
};

// The images that came to a server but that by which a stream was connected.
std::vector<std::string> Images(FakeServer& server) {
  std::vector<std::string> images = server.service().images();
  std::erase(images, "\xff");
  return images;
}

const grpc::Status kDraining{grpc::StatusCode::UNAVAILABLE,
                             "server is shutting down"};

// Without any other channel in the process, as in a test that is run alone.
TEST(ClassifyStreamTest, StreamsMayComeAndGo) {
  const testing::UnusedPort port;
  ClientOptions options;
  options.target = port.address();
  options.deadline = absl::Milliseconds(1);
  for (int i = 0; i < 30; ++i) {
    int failed = 0;
    auto stream = ClassifyStream::Create(
        options, {}, [&failed](uint64_t /*id*/, const auto& answer) {
          failed += answer.ok() ? 0 : 1;
        });
    ASSERT_TRUE(stream.ok()) << stream.status();
    (*stream)->Send(0, std::vector<uint8_t>{1});
    stream->reset();
    EXPECT_EQ(failed, 1);
  }
}

TEST(ClassifyStreamTest, EveryImageGetsItsAnswer) {
  FakeServer server;
  TestStream stream(server.options());
  stream.Send(0, 200);
  stream.ExpectRight(0, 200);
  EXPECT_EQ(stream.resumptions(), 0);
  EXPECT_THAT(Images(server), SizeIs(201));
}

TEST(ClassifyStreamTest, IdsAreTheCallersOwn) {
  FakeServer server;
  std::mutex mutex;
  std::vector<std::pair<uint64_t, int>> answers;
  const auto stream = ClassifyStream::Create(
      server.options(), {},
      [&](uint64_t id, const absl::StatusOr<v1::ClassifyResponse>& answer) {
        ASSERT_TRUE(answer.ok()) << answer.status();
        const std::lock_guard lock(mutex);
        answers.emplace_back(id, answer->label());
      });
  ASSERT_TRUE(stream.ok());
  (*stream)->Send(UINT64_MAX, std::vector<uint8_t>{1});
  (*stream)->Send(0, std::vector<uint8_t>{2});
  (*stream)->Send(0, std::vector<uint8_t>{3});
  (*stream)->Finish();
  EXPECT_THAT(answers,
              ::testing::UnorderedElementsAre(
                  std::pair(UINT64_MAX, 1), std::pair(0, 2), std::pair(0, 3)));
}

TEST(ClassifyStreamTest, AStreamThatBreaksIsResumedWithWhatWasNotAnswered) {
  FakeServer server;
  TestStream stream(server.options());
  server.service().EndStream(3, kDraining);
  stream.Send(1, 50);
  stream.ExpectRight(1, 50);
  EXPECT_EQ(stream.resumptions(), 1);
  // The server took one image that it did not answer.
  std::vector<std::string> images = Images(server);
  EXPECT_THAT(images, SizeIs(51));
  EXPECT_EQ(std::count(images.begin(), images.end(), "\x4"), 2);
  std::sort(images.begin(), images.end());
  EXPECT_EQ(std::unique(images.begin(), images.end()) - images.begin(), 50);
}

class EndOfStreamTest : public ::testing::TestWithParam<grpc::StatusCode> {};

TEST_P(EndOfStreamTest, WhateverEndsTheStreamItIsResumed) {
  FakeServer server;
  TestStream stream(server.options());
  for (int i = 0; i < 3; ++i) {
    server.service().EndStream(3, {GetParam(), "over"});
  }
  stream.Send(1, 50);
  stream.ExpectRight(1, 50);
  EXPECT_EQ(stream.resumptions(), 3);
}

INSTANTIATE_TEST_SUITE_P(Codes, EndOfStreamTest,
                         ::testing::Values(grpc::StatusCode::OK,
                                           grpc::StatusCode::UNAVAILABLE,
                                           grpc::StatusCode::CANCELLED,
                                           grpc::StatusCode::RESOURCE_EXHAUSTED,
                                           grpc::StatusCode::INTERNAL),
                         [](const auto& test) {
                           return std::string(absl::StatusCodeToString(
                               static_cast<absl::StatusCode>(test.param)));
                         });

TEST(ClassifyStreamTest, WhenItsServerDiesTheStreamGoesOnWithAnother) {
  FakeServer first;
  FakeServer second;
  ClientOptions options = first.options();
  options.target = "ipv4:" + first.address() + "," + second.address();
  TestStream stream(options);
  FakeServer& mine = first.service().images().empty() ? second : first;
  FakeServer& other = first.service().images().empty() ? first : second;
  mine.service().ShutGate();
  stream.Send(1, 20);
  while (Images(mine).empty()) std::this_thread::yield();
  mine.Kill();
  stream.ExpectRight(1, 20);
  EXPECT_THAT(Images(other), SizeIs(20));
}

TEST(ClassifyStreamTest, ImagesWaitForTheirServerToComeBack) {
  const testing::UnusedPort port;
  auto server = std::make_unique<FakeServer>(nullptr, port.address());
  TestStream stream(server->options());
  server.reset();
  stream.Send(1, 5);
  server = std::make_unique<FakeServer>(nullptr, port.address());
  stream.ExpectRight(1, 5);
}

TEST(ClassifyStreamTest, AServerThatRefusesAnImageIsLeft) {
  FakeServer server;
  TestStream stream(server.options());
  server.service().FailNextImages(1, kDraining);
  stream.Send(1, 30);
  stream.ExpectRight(1, 30);
  EXPECT_EQ(stream.resumptions(), 1);
}

TEST(ClassifyStreamTest, AnErrorOfAnImageIsItsAnswer) {
  FakeServer server;
  TestStream stream(server.options());
  server.service().FailNextImages(
      1, {grpc::StatusCode::INVALID_ARGUMENT, "expected 784 bytes"});
  stream.Send(1, 1);
  EXPECT_EQ(stream.Answer(1), absl::InvalidArgumentError("expected 784 bytes"));
  stream.Send(2, 9);
  stream.ExpectRight(2, 9);
  EXPECT_EQ(stream.resumptions(), 0);
}

TEST(ClassifyStreamTest, AnImageThatBreaksEveryStreamIsGivenUp) {
  FakeServer server;
  const ClientOptions options = server.options();
  TestStream stream(options);
  for (int i = 0; i < options.max_attempts; ++i) {
    server.service().EndStream(0, {grpc::StatusCode::UNAVAILABLE, "crash"});
  }
  stream.Send(1, 1);
  EXPECT_EQ(stream.Answer(1),
            absl::UnavailableError(server.address() + ": crash"));
  EXPECT_THAT(Images(server), SizeIs(options.max_attempts));
  stream.Send(2, 3);
  stream.ExpectRight(2, 3);
}

TEST(ClassifyStreamTest, AStatusThatNoServerMendsFailsTheImagesAtOnce) {
  FakeServer server;
  TestStream stream(server.options());
  server.service().EndStream(
      1, {grpc::StatusCode::UNIMPLEMENTED, "no streams here"});
  stream.Send(1, 2);
  EXPECT_TRUE(stream.Answer(1).ok());
  EXPECT_EQ(stream.Answer(2),
            absl::UnimplementedError(server.address() + ": no streams here"));
  stream.Send(3, 4);
  stream.ExpectRight(3, 4);
}

TEST(ClassifyStreamTest, WithoutAServerImagesFailAtOnce) {
  const testing::UnusedPort port;
  ClientOptions options;
  options.target = port.address();
  options.deadline = absl::Hours(1);
  const auto stream = TestStream::NotConnected(options);
  stream->Send(1, 3);
  for (int id = 1; id <= 3; ++id) {
    EXPECT_EQ(stream->Answer(id).code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(stream->Answer(id).message()),
                StartsWith(port.address()));
  }
}

TEST(ClassifyStreamTest, AtTheDeadlineAnImageFailsAndTheServerIsLeft) {
  FakeServer server;
  ClientOptions options = server.options();
  options.deadline = absl::Milliseconds(300);
  TestStream stream(options);
  server.service().ShutGate();
  stream.Send(1, 2);
  for (const int late : {1, 2}) {
    EXPECT_EQ(stream.Answer(late),
              absl::DeadlineExceededError(server.address() +
                                          ": no answer within 300ms"));
  }
  server.service().OpenGate();
  // The next goes to a new stream.
  uint8_t id = 3;
  stream.Send(id, id);
  while (!stream.Answer(id).ok() && id < 100) {
    ++id;
    stream.Send(id, id);
  }
  stream.ExpectRight(id, id);
  EXPECT_GE(stream.resumptions(), 1);
}

TEST(ClassifyStreamTest, AtTheDeadlineWithoutAServerTheReasonIsTold) {
  const testing::UnusedPort port;
  FakeServer server(nullptr, port.address());
  ClientOptions options = server.options();
  options.deadline = absl::Seconds(1);
  TestStream stream(options);
  server.Kill();
  stream.Send(1, 2);
  const std::string expected =
      server.address() + ": no healthy server was reached within 1s";
  EXPECT_EQ(stream.Answer(1), absl::UnavailableError(expected));
  EXPECT_EQ(stream.Answer(2), absl::UnavailableError(expected));
  // From then on images fail at once, and say why.
  stream.Send(3, 3);
  EXPECT_EQ(stream.Answer(3).code(), absl::StatusCode::kUnavailable);
}

TEST(ClassifyStreamTest, NoMoreImagesThanAllowedAreInFlight) {
  constexpr int kMost = 3;
  FakeServer server;
  std::atomic<int> sent = 0;
  std::atomic<int> answered = 0;
  const auto stream = ClassifyStream::Create(
      server.options(), {.max_in_flight = kMost},
      [&](uint64_t, const absl::StatusOr<v1::ClassifyResponse>& answer) {
        EXPECT_TRUE(answer.ok()) << answer.status();
        // The sender waits for the end of this.
        EXPECT_LE(sent, answered + kMost);
        ++answered;
      });
  ASSERT_TRUE(stream.ok());
  for (int i = 0; i < 100; ++i) {
    (*stream)->Send(i, std::vector<uint8_t>{1});
    ++sent;
  }
  (*stream)->Finish();
  EXPECT_EQ(answered, 100);
}

TEST(ClassifyStreamTest, ManyThreadsMaySendWhileStreamsBreak) {
  constexpr int kThreads = 4;
  FakeServer server;
  TestStream stream(server.options(), 8);
  for (int i = 0; i < 20; ++i) server.service().EndStream(5, kDraining);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&stream, t] {
      stream.Send(static_cast<uint8_t>(60 * t),
                  static_cast<uint8_t>(60 * t + 59));
    });
  }
  for (std::thread& thread : threads) thread.join();
  stream.ExpectRight(0, 60 * kThreads - 1);
  EXPECT_EQ(stream.resumptions(), 20);
}

TEST(ClassifyStreamTest, TheDestructorWaitsForTheCallbacks) {
  FakeServer server;
  std::atomic<int> answered = 0;
  auto stream = ClassifyStream::Create(
      server.options(), {},
      [&](uint64_t, const absl::StatusOr<v1::ClassifyResponse>& answer) {
        EXPECT_TRUE(answer.ok()) << answer.status();
        ++answered;
      });
  ASSERT_TRUE(stream.ok());
  for (int i = 0; i < 50; ++i) (*stream)->Send(i, std::vector<uint8_t>{1});
  stream->reset();
  EXPECT_EQ(answered, 50);
}

TEST(ClassifyStreamTest, OptionsOutOfRangeAreRejected) {
  ClientOptions options;
  EXPECT_EQ(
      ClassifyStream::Create(options, {.max_in_flight = 0}, {}).status(),
      absl::InvalidArgumentError("max_in_flight is 0, expected at least 1"));
  options.max_attempts = 6;
  EXPECT_EQ(ClassifyStream::Create(options, {}, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace vit::client
