#include "server/rpc/call.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "grpc/health/v1/health.pb.h"
#include "server/rpc/message.h"
#include "tests/server/rpc/fake_observer.h"
#include "tests/server/rpc/raw_stream.h"

namespace vit {
namespace {

using grpc::health::v1::HealthCheckRequest;
using Rule = RpcObserver::Rule;
using ::testing::HasSubstr;
using testing::RawStream;

// What the handlers of a test report, in its order.
class Journal {
 public:
  void Add(const std::string& entry) {
    std::lock_guard lock(mutex_);
    entries_.push_back(entry);
    changed_.notify_all();
  }
  void WaitFor(const std::string& entry) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] {
      return std::find(entries_.begin(), entries_.end(), entry) !=
             entries_.end();
    });
  }
  size_t Count(const std::string& entry) {
    std::lock_guard lock(mutex_);
    return std::count(entries_.begin(), entries_.end(), entry);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> entries_;
};

// Does what a test says with each message, and reports all else.
class ScriptedHandler final : public CallHandler {
 public:
  using OnMessageFunction = std::function<void(Call*)>;

  ScriptedHandler(Call* call, Journal* journal, OnMessageFunction on_message)
      : CallHandler(call),
        journal_(*journal),
        on_message_(std::move(on_message)) {
    journal_.Add("made");
  }
  ~ScriptedHandler() override { journal_.Add("gone"); }

 private:
  void OnMessage(grpc::ByteBuffer& /*message*/) override {
    journal_.Add("message");
    on_message_(call());
  }
  void OnClosed() override {
    journal_.Add("closed");
    call()->Finish(absl::InvalidArgumentError("closed"));
  }
  void OnCancelled() override {
    journal_.Add("cancelled");
    call()->Finish(absl::CancelledError());
  }
  void OnDrain() override {
    journal_.Add("drain");
    call()->Finish(absl::UnavailableError("drained"));
  }

  Journal& journal_;
  const OnMessageFunction on_message_;
};

// A gRPC server with nothing but calls and one loop.
class CallTest : public ::testing::Test {
 protected:
  void AddMethod(const std::string& name, bool is_stream, size_t max_calls,
                 ScriptedHandler::OnMessageFunction on_message) {
    shared_.methods[name] = {
        .new_handler =
            [this, on_message](Call* call) -> std::unique_ptr<CallHandler> {
          return std::make_unique<ScriptedHandler>(call, &journal_, on_message);
        },
        .is_stream = is_stream,
        .max_calls = max_calls};
  }

  void Start() {
    for (const auto& [name, method] : shared_.methods) {
      if (method.max_calls > 0) shared_.limited[&method] = 0;
    }
    shared_.service = &generic_;
    shared_.admission = &admission_;
    shared_.observer = &observer_;
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port);
    builder.RegisterAsyncGenericService(&generic_);
    loop_ = std::make_unique<EventLoop>(builder.AddCompletionQueue());
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
    Call::Listen(&shared_, loop_.get());
    loop_->Start();
    channel_ = grpc::CreateChannel("127.0.0.1:" + std::to_string(port),
                                   grpc::InsecureChannelCredentials());
  }

  ~CallTest() override {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now());
    loop_.reset();
    // Whoever was let in has gone, and nobody waits any more.
    EXPECT_EQ(observer_.calls(), 0);
    EXPECT_EQ(journal_.Count("made"), journal_.Count("gone"));
  }

  // One call with one message; its status.
  grpc::Status Send(const std::string& method) {
    RawStream call(channel_, method);
    call.Send(HealthCheckRequest());
    call.SendEnd();
    return call.Finish();
  }

  Journal journal_;
  testing::FakeObserver observer_;
  ServingState state_;
  Admission admission_{&state_,
                       {.max_calls = 100,
                        .max_streams = 100,
                        .max_reading = 100,
                        .message_timeout = std::chrono::seconds(60),
                        .write_timeout = std::chrono::seconds(60)},
                       &observer_};
  grpc::AsyncGenericService generic_;
  CallContext shared_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(CallTest, AHandlerThatThrowsFailsItsCallAndNothingElse) {
  AddMethod("/test.T/OutOfMemory", false, 0,
            [](Call* /*call*/) { throw std::bad_alloc(); });
  AddMethod("/test.T/Throw", false, 0,
            [](Call* /*call*/) { throw std::runtime_error("no luck"); });
  AddMethod("/test.T/Finish", false, 0,
            [](Call* call) { call->Finish(absl::OkStatus()); });
  Start();
  EXPECT_EQ(Send("/test.T/OutOfMemory").error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  const grpc::Status thrown = Send("/test.T/Throw");
  EXPECT_EQ(thrown.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(thrown.error_message(), "no luck");
  EXPECT_TRUE(Send("/test.T/Finish").ok());
  const grpc::Status unknown = Send("/test.T/Other");
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_THAT(unknown.error_message(), HasSubstr("/test.T/Other"));
  EXPECT_EQ(observer_.refused(Rule::kUnknownMethod), 1);
}

// A refused call lives until its client has noticed, which may take long.
TEST_F(CallTest, ACallThatIsRefusedTakesNoPlaceOfItsMethod) {
  std::promise<Call*> promise;
  AddMethod("/test.T/Hold", false, 1,
            [&](Call* call) { promise.set_value(call); });
  std::vector<size_t> taken;
  observer_.on_refused = [&](Rule rule) {
    EXPECT_EQ(rule, Rule::kMethodBusy);
    taken.push_back(shared_.limited.begin()->second);
  };
  Start();
  auto held =
      std::async(std::launch::async, [&] { return Send("/test.T/Hold"); });
  Call* const call = promise.get_future().get();
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Send("/test.T/Hold").error_code(),
              grpc::StatusCode::RESOURCE_EXHAUSTED);
  }
  EXPECT_EQ(taken, std::vector<size_t>(3, 1));
  call->Finish(absl::OkStatus());
  EXPECT_TRUE(held.get().ok());
}

TEST_F(CallTest, WhatIsCutOffEndsAsIfItsClientHadGone) {
  AddMethod("/test.T/Hold", false, 0, [](Call* /*call*/) {});
  Start();
  // Nothing was sent yet, so it waits for its message.
  RawStream reading(channel_, "/test.T/Hold");
  observer_.WaitForCalls(1);
  admission_.CutOffLate(Clock::now() + std::chrono::hours(1));
  EXPECT_EQ(observer_.refused(Rule::kMessageTimeout), 1);
  EXPECT_EQ(reading.Finish().error_code(), grpc::StatusCode::CANCELLED);
  observer_.WaitForCalls(0);
  journal_.WaitFor("gone");
  EXPECT_EQ(journal_.Count("message"), 0);
}

TEST_F(CallTest, ACallThatIsComputedIsNotCutOffAndItsClientMayGo) {
  AddMethod("/test.T/Hold", false, 0, [](Call* /*call*/) {});
  Start();
  {
    RawStream call(channel_, "/test.T/Hold");
    ASSERT_TRUE(call.Send(HealthCheckRequest()));
    journal_.WaitFor("message");
    admission_.CutOffLate(Clock::now() + std::chrono::hours(1));
    EXPECT_EQ(journal_.Count("cancelled"), 0);
  }
  journal_.WaitFor("cancelled");
  observer_.WaitForCalls(0);
}

TEST_F(CallTest, StreamsAreToldToDrainAndNewCallsAreRefused) {
  AddMethod("/test.T/Stream", true, 0, [](Call* /*call*/) {});
  AddMethod("/test.T/Finish", false, 0,
            [](Call* call) { call->Finish(absl::OkStatus()); });
  Start();
  RawStream stream(channel_, "/test.T/Stream");
  observer_.WaitForCalls(1);
  admission_.StartDraining();
  EXPECT_EQ(stream.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(Send("/test.T/Finish").error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(
      admission_.WaitUntilIdle(Clock::now() + std::chrono::seconds(30)));
  EXPECT_EQ(journal_.Count("drain"), 1);
}

// Some go while they are told, some before and some after.
TEST_F(CallTest, StreamsMayGoWhileTheyAreToldToDrain) {
  AddMethod("/test.T/Stream", true, 0, [](Call* /*call*/) {});
  Start();
  std::vector<std::unique_ptr<RawStream>> streams;
  for (int i = 0; i < 60; ++i) {
    streams.push_back(std::make_unique<RawStream>(channel_, "/test.T/Stream"));
  }
  observer_.WaitForCalls(60);
  auto gone = std::async(std::launch::async, [&] {
    for (const auto& stream : streams) stream->Cancel();
  });
  journal_.WaitFor("gone");
  admission_.StartDraining();
  gone.get();
  EXPECT_TRUE(
      admission_.WaitUntilIdle(Clock::now() + std::chrono::seconds(30)));
}

}  // namespace
}  // namespace vit
