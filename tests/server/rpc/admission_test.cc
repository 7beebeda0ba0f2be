#include "server/rpc/admission.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/rpc/fake_observer.h"

namespace vit {
namespace {

using ::testing::HasSubstr;
using Phase = AdmittedCall::Phase;
using Rule = RpcObserver::Rule;
using std::chrono::milliseconds;
using std::chrono::seconds;

class FakeCall : public AdmittedCall {
 public:
  explicit FakeCall(uint64_t connection = 0) { set_connection(connection); }

  int cut_off() const { return cut_off_.load(); }
  int told_to_drain() const { return told_to_drain_.load(); }

 private:
  void CutOff() override { ++cut_off_; }
  void StartDraining() override { ++told_to_drain_; }

  std::atomic<int> cut_off_{0};
  std::atomic<int> told_to_drain_{0};
};

class AdmissionTest : public ::testing::Test {
 protected:
  AdmissionTest() { state_.Advance(ServingState::Phase::kServing); }

  absl::Status Call(FakeCall* call, Clock::duration at = {}) {
    return admission_.Enter(call, /*is_stream=*/false, start_ + at);
  }
  absl::Status Stream(FakeCall* call, Clock::duration at = {}) {
    return admission_.Enter(call, /*is_stream=*/true, start_ + at);
  }
  void Move(FakeCall* call, Phase phase, Clock::duration at = {}) {
    admission_.Move(call, phase, start_ + at);
  }
  void OnMessage(FakeCall* call, Clock::duration at = {}) {
    admission_.OnMessage(call, start_ + at);
  }
  // Counts of a test's calls have gone back to zero: all places are free.
  void ExpectNoneLeft() {
    EXPECT_EQ(observer_.calls(), 0);
    FakeCall calls[2];
    FakeCall streams[2];
    for (FakeCall& call : calls) {
      EXPECT_TRUE(Call(&call).ok());
      OnMessage(&call);
    }
    for (FakeCall& stream : streams) EXPECT_TRUE(Stream(&stream).ok());
    FakeCall more[2];
    EXPECT_FALSE(Call(&more[0]).ok());
    EXPECT_FALSE(Stream(&more[1]).ok());
    for (FakeCall& call : calls) admission_.Leave(&call);
    for (FakeCall& stream : streams) admission_.Leave(&stream);
    EXPECT_EQ(observer_.calls(), 0);
  }

  static constexpr Clock::duration kPatience = Admission::kPatience;

  ServingState state_;
  testing::FakeObserver observer_;
  Admission admission_{&state_,
                       {.max_calls = 2,
                        .max_streams = 2,
                        .max_reading = 2,
                        .message_timeout = seconds(10),
                        .write_timeout = seconds(5)},
                       &observer_};
  // Times are a test's own.
  const Clock::time_point start_ = Clock::now();
};

TEST_F(AdmissionTest, CallsAndStreamsHavePlacesOfTheirOwn) {
  FakeCall a, b, c, d, refused_call, refused_stream;
  EXPECT_TRUE(Call(&a).ok());
  EXPECT_TRUE(Call(&b).ok());
  EXPECT_TRUE(Stream(&c).ok());
  EXPECT_TRUE(Stream(&d).ok());
  EXPECT_EQ(observer_.calls(), 4);
  OnMessage(&a);
  OnMessage(&b);
  const absl::Status call = Call(&refused_call);
  EXPECT_EQ(call.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(call.message()),
              HasSubstr("all 2 places for calls are taken"));
  const absl::Status stream = Stream(&refused_stream);
  EXPECT_EQ(stream.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(stream.message()),
              HasSubstr("all 2 places for streams are taken"));
  EXPECT_EQ(observer_.refused(Rule::kTooManyCalls), 1);
  EXPECT_EQ(observer_.refused(Rule::kTooManyStreams), 1);
  // Whoever was never let in leaves nothing.
  admission_.Leave(&refused_call);
  admission_.Leave(&refused_stream);
  EXPECT_EQ(observer_.calls(), 4);
  for (FakeCall* one : {&a, &b, &c, &d}) admission_.Leave(one);
  ExpectNoneLeft();
}

TEST_F(AdmissionTest, RoomIsMadeOnlyForWhoHasBeenPatient) {
  FakeCall slow, computing, next;
  ASSERT_TRUE(Call(&computing).ok());
  OnMessage(&computing);
  ASSERT_TRUE(Call(&slow).ok());
  EXPECT_FALSE(Call(&next, kPatience - milliseconds(1)).ok());
  EXPECT_EQ(slow.cut_off(), 0);
  EXPECT_TRUE(Call(&next, kPatience).ok());
  EXPECT_EQ(slow.cut_off(), 1);
  EXPECT_EQ(computing.cut_off(), 0);
  EXPECT_EQ(observer_.refused(Rule::kMadeRoom), 1);
  // It is still there, until gRPC is done with it.
  EXPECT_EQ(observer_.calls(), 3);
  for (FakeCall* one : {&slow, &computing, &next}) admission_.Leave(one);
  ExpectNoneLeft();
}

TEST_F(AdmissionTest, WhoKeptTheServerWaitingLongestIsCutOff) {
  FakeCall reading, answering, next, after;
  ASSERT_TRUE(Call(&answering).ok());
  ASSERT_TRUE(Call(&reading, milliseconds(5)).ok());
  OnMessage(&answering);
  Move(&answering, Phase::kAnswering, milliseconds(10));
  ASSERT_TRUE(Call(&next, seconds(1)).ok());
  EXPECT_EQ(reading.cut_off(), 1);
  EXPECT_EQ(answering.cut_off(), 0);
  OnMessage(&next, seconds(1));
  ASSERT_TRUE(Call(&after, seconds(1)).ok());
  EXPECT_EQ(answering.cut_off(), 1);
  EXPECT_EQ(next.cut_off(), 0);
  for (FakeCall* one : {&reading, &answering, &next, &after}) {
    admission_.Leave(one);
  }
  ExpectNoneLeft();
}

TEST_F(AdmissionTest, WhatTheServerComputesIsNeverCutOff) {
  FakeCall a, b, next;
  ASSERT_TRUE(Call(&a).ok());
  ASSERT_TRUE(Call(&b).ok());
  OnMessage(&a);
  OnMessage(&b);
  EXPECT_FALSE(Call(&next, std::chrono::hours(1)).ok());
  admission_.CutOffLate(start_ + std::chrono::hours(1));
  EXPECT_EQ(a.cut_off() + b.cut_off(), 0);
  admission_.Leave(&a);
  admission_.Leave(&b);
}

TEST_F(AdmissionTest, HalfSentMessagesHaveALimitOfTheirOwn) {
  Admission admission(&state_, {.max_calls = 10, .max_reading = 1}, &observer_);
  FakeCall slow, refused, next;
  ASSERT_TRUE(admission.Enter(&slow, false, start_).ok());
  EXPECT_FALSE(admission.Enter(&refused, false, start_).ok());
  ASSERT_TRUE(admission.Enter(&next, false, start_ + kPatience).ok());
  EXPECT_EQ(slow.cut_off(), 1);
  admission.OnMessage(&next, start_ + kPatience);
  EXPECT_TRUE(admission.Enter(&refused, false, start_ + kPatience).ok());
  for (FakeCall* one : {&slow, &refused, &next}) admission.Leave(one);
}

TEST_F(AdmissionTest, TheConnectionWithMostHalfSentMessagesGivesOneUp) {
  Admission admission(&state_, {.max_calls = 8, .max_reading = 2}, &observer_);
  const auto enter = [&](FakeCall* call) {
    return admission.Enter(call, /*is_stream=*/false, start_);
  };
  // Has most places, but sends its messages whole.
  FakeCall computed[4]{FakeCall(1), FakeCall(1), FakeCall(1), FakeCall(1)};
  for (FakeCall& call : computed) {
    EXPECT_TRUE(enter(&call).ok());
    admission.OnMessage(&call, start_);
  }
  FakeCall half_sent[2]{FakeCall(2), FakeCall(2)};
  for (FakeCall& call : half_sent) EXPECT_TRUE(enter(&call).ok());
  FakeCall newcomer(3);
  EXPECT_TRUE(enter(&newcomer).ok());
  EXPECT_EQ(half_sent[0].cut_off(), 1);
  EXPECT_EQ(half_sent[1].cut_off(), 0);
  // All of the two have as many now as a newcomer would have.
  FakeCall refused(4);
  EXPECT_FALSE(enter(&refused).ok());
  for (FakeCall& call : computed) admission.Leave(&call);
  for (FakeCall& call : half_sent) admission.Leave(&call);
  admission.Leave(&newcomer);
}

// It would give no place for a call.
TEST_F(AdmissionTest, AStreamThatIsNotReadMakesNoRoomForACall) {
  FakeCall a, b, stream, next;
  ASSERT_TRUE(Call(&a).ok());
  ASSERT_TRUE(Call(&b).ok());
  OnMessage(&a);
  OnMessage(&b);
  ASSERT_TRUE(Stream(&stream).ok());
  Move(&stream, Phase::kAnswering);
  EXPECT_FALSE(Call(&next, seconds(1)).ok());
  EXPECT_EQ(stream.cut_off(), 0);
  for (FakeCall* one : {&a, &b, &stream}) admission_.Leave(one);
  ExpectNoneLeft();
}

TEST_F(AdmissionTest, AStreamThatIsNotReadMakesRoomForAStream) {
  FakeCall unread, idle, next;
  ASSERT_TRUE(Stream(&unread).ok());
  ASSERT_TRUE(Stream(&idle).ok());
  Move(&unread, Phase::kAnswering);
  Move(&idle, Phase::kStreaming, milliseconds(1));
  EXPECT_TRUE(Stream(&next, seconds(1)).ok());
  EXPECT_EQ(unread.cut_off(), 1);
  EXPECT_EQ(idle.cut_off(), 0);
  for (FakeCall* one : {&unread, &idle, &next}) admission_.Leave(one);
  ExpectNoneLeft();
}

TEST_F(AdmissionTest, AStreamWhoseMessageTheServerHasIsNotCutOff) {
  FakeCall a, b, next;
  ASSERT_TRUE(Stream(&a).ok());
  ASSERT_TRUE(Stream(&b).ok());
  OnMessage(&a, milliseconds(1));
  OnMessage(&b, milliseconds(1));
  EXPECT_FALSE(Stream(&next, seconds(1)).ok());
  EXPECT_EQ(a.cut_off() + b.cut_off(), 0);
  // Answered, it is the client's turn again.
  Move(&b, Phase::kStreaming, seconds(1));
  EXPECT_TRUE(Stream(&next, seconds(1) + kPatience).ok());
  EXPECT_EQ(b.cut_off(), 1);
  for (FakeCall* one : {&a, &b, &next}) admission_.Leave(one);
}

TEST_F(AdmissionTest, AStreamGainsNoTimeBySendingWithoutReading) {
  FakeCall stream;
  ASSERT_TRUE(Stream(&stream).ok());
  Move(&stream, Phase::kAnswering);
  OnMessage(&stream, seconds(4));
  admission_.CutOffLate(start_ + seconds(5));
  EXPECT_EQ(stream.cut_off(), 1);
  admission_.Leave(&stream);
}

TEST_F(AdmissionTest, WhatIsLateIsCutOffAsItsPhaseSays) {
  FakeCall reading, answering, streaming, unread;
  ASSERT_TRUE(Call(&reading).ok());
  ASSERT_TRUE(Call(&answering).ok());
  ASSERT_TRUE(Stream(&streaming).ok());
  ASSERT_TRUE(Stream(&unread).ok());
  Move(&answering, Phase::kAnswering);
  Move(&unread, Phase::kAnswering);
  admission_.CutOffLate(start_ + seconds(5) - milliseconds(1));
  EXPECT_EQ(answering.cut_off() + unread.cut_off(), 0);
  admission_.CutOffLate(start_ + seconds(5));
  EXPECT_EQ(answering.cut_off(), 1);
  EXPECT_EQ(unread.cut_off(), 1);
  EXPECT_EQ(observer_.refused(Rule::kWriteTimeout), 2);
  EXPECT_EQ(reading.cut_off(), 0);
  admission_.CutOffLate(start_ + seconds(10));
  EXPECT_EQ(reading.cut_off(), 1);
  EXPECT_EQ(observer_.refused(Rule::kMessageTimeout), 1);
  admission_.CutOffLate(start_ + std::chrono::hours(1));
  EXPECT_EQ(streaming.cut_off(), 0);
  for (FakeCall* one : {&reading, &answering, &streaming, &unread}) {
    admission_.Leave(one);
  }
  ExpectNoneLeft();
}

TEST_F(AdmissionTest, ACallThatIsCutOffStaysSoAndGivesItsPlaceOnce) {
  FakeCall call, a, b, refused;
  ASSERT_TRUE(Call(&call).ok());
  admission_.CutOffLate(start_ + seconds(10));
  ASSERT_EQ(call.cut_off(), 1);
  // The handler learns of it later, and goes on until then.
  OnMessage(&call, seconds(10));
  Move(&call, Phase::kAnswering, seconds(10));
  admission_.CutOffLate(start_ + std::chrono::hours(1));
  EXPECT_EQ(call.cut_off(), 1);
  ASSERT_TRUE(Call(&a).ok());
  ASSERT_TRUE(Call(&b).ok());
  OnMessage(&a);
  OnMessage(&b);
  admission_.Leave(&call);
  EXPECT_FALSE(Call(&refused).ok());
  admission_.Leave(&a);
  admission_.Leave(&b);
  ExpectNoneLeft();
}

TEST_F(AdmissionTest, WhileDrainingNobodyIsLetInAndStreamsAreTold) {
  FakeCall call, stream, cut_off, late;
  ASSERT_TRUE(Call(&call).ok());
  ASSERT_TRUE(Stream(&stream).ok());
  ASSERT_TRUE(Stream(&cut_off).ok());
  Move(&stream, Phase::kAnswering, seconds(10));
  Move(&cut_off, Phase::kAnswering);
  admission_.CutOffLate(start_ + seconds(5));
  state_.Advance(ServingState::Phase::kDraining);
  admission_.StartDraining();
  EXPECT_EQ(call.told_to_drain(), 0);
  EXPECT_EQ(stream.told_to_drain(), 1);
  EXPECT_LE(cut_off.told_to_drain(), 1);
  const absl::Status status = Call(&late);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("shutting down"));
  EXPECT_EQ(observer_.refused(Rule::kNotServing), 1);
  for (FakeCall* one : {&call, &stream, &cut_off}) admission_.Leave(one);
  EXPECT_EQ(observer_.calls(), 0);
}

TEST_F(AdmissionTest, ItIsIdleOnceTheLastCallHasLeft) {
  EXPECT_TRUE(admission_.WaitUntilIdle(Clock::now()));
  FakeCall call, stream;
  ASSERT_TRUE(Call(&call).ok());
  ASSERT_TRUE(Stream(&stream).ok());
  EXPECT_FALSE(admission_.WaitUntilIdle(Clock::now() + milliseconds(20)));
  auto idle = std::async(std::launch::async, [&] {
    return admission_.WaitUntilIdle(Clock::now() + seconds(30));
  });
  admission_.Leave(&call);
  // One that was cut off counts, too.
  Move(&stream, Phase::kAnswering);
  admission_.CutOffLate(start_ + seconds(5));
  EXPECT_EQ(idle.wait_for(milliseconds(20)), std::future_status::timeout);
  admission_.Leave(&stream);
  EXPECT_TRUE(idle.get());
}

TEST_F(AdmissionTest, ItIsQuietOnceNobodyWasRefusedForAWhile) {
  const Clock::time_point start = Clock::now();
  EXPECT_TRUE(admission_.WaitUntilQuiet(milliseconds(20), start + seconds(30)));
  EXPECT_GE(Clock::now() - start, milliseconds(20));
  EXPECT_FALSE(admission_.WaitUntilQuiet(seconds(30), Clock::now()));
  admission_.StartDraining();
  // A client that comes meanwhile makes it wait anew.
  const Clock::time_point refused = Clock::now() + milliseconds(40);
  FakeCall call;
  ASSERT_FALSE(admission_.Enter(&call, false, refused).ok());
  EXPECT_TRUE(
      admission_.WaitUntilQuiet(milliseconds(20), Clock::now() + seconds(30)));
  EXPECT_GE(Clock::now(), refused + milliseconds(20));
}

TEST_F(AdmissionTest, ManyThreadsComeAndGoAndEveryPlaceIsGivenBack) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, is_stream = t % 2 == 0] {
      for (int i = 0; i < 500; ++i) {
        FakeCall call;
        const Clock::time_point now = Clock::now();
        if (!admission_.Enter(&call, is_stream, now).ok()) continue;
        admission_.OnMessage(&call, now);
        admission_.Move(&call, Phase::kAnswering, now);
        if (is_stream) admission_.Move(&call, Phase::kStreaming, now);
        admission_.Leave(&call);
      }
    });
  }
  for (int i = 0; i < 500; ++i) {
    admission_.CutOffLate(Clock::now() +
                          (i % 2 == 0 ? seconds(60) : seconds(0)));
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(admission_.WaitUntilIdle(Clock::now()));
  ExpectNoneLeft();
}

}  // namespace
}  // namespace vit
