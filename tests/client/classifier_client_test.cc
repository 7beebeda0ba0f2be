#include "client/classifier_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <cstdint>
#include <future>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "nlohmann/json.hpp"
#include "tests/client/fake_service.h"
#include "tests/client/unused_port.h"

namespace vit::client {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::FakeServer;
using ::testing::HasSubstr;
using ::testing::StartsWith;

std::unique_ptr<ClassifierClient> Connect(const ClientOptions& options) {
  auto client = ClassifierClient::Create(options);
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

const std::vector<uint8_t>& Image();

// The same, connected. Calls may fail until it is.
std::unique_ptr<ClassifierClient> Connected(const ClientOptions& options) {
  auto client = Connect(options);
  const absl::Time give_up = absl::Now() + absl::Seconds(30);
  absl::Status status;
  do {
    status = client->Classify(Image()).status();
  } while (!status.ok() && absl::Now() < give_up);
  EXPECT_TRUE(status.ok()) << status;
  return client;
}

const std::vector<uint8_t>& Image() {
  static const auto& image = *new std::vector<uint8_t>{3, 0, 255, 10};
  return image;
}

// Without any other channel in the process, as in a test that is run alone.
TEST(ClassifierClientTest, ClientsMayComeAndGo) {
  const testing::UnusedPort port;
  ClientOptions options;
  options.target = port.address();
  options.deadline = absl::Milliseconds(1);
  for (int i = 0; i < 30; ++i) {
    std::promise<absl::Status> done;
    const auto client = Connect(options);
    client->ClassifyAsync(Image(), [&done](const auto& response) {
      done.set_value(response.status());
    });
    EXPECT_FALSE(done.get_future().get().ok());
  }
}

TEST(ClassifierClientTest, ClassifySendsTheImageAndReturnsTheAnswer) {
  FakeServer server;
  const auto response = Connect(server.options())->Classify(Image());
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->label(), 3);
  EXPECT_FLOAT_EQ(response->confidence(), 0.55F);
  EXPECT_EQ(response->probabilities_size(), 10);
  EXPECT_EQ(response->timing().batch_size(), 8);
  EXPECT_THAT(server.service().images(),
              ElementsAre(std::string("\3\0\xff\n", 4)));
}

TEST(ClassifierClientTest, ClassifyBatchAnswersInTheOrderOfTheImages) {
  FakeServer server;
  const std::vector<uint8_t> pixels = {5, 2, 9};
  const std::vector<std::span<const uint8_t>> images = {
      std::span(pixels).first(1), std::span(pixels).subspan(1, 1),
      std::span(pixels).last(1)};
  const auto response = Connect(server.options())->ClassifyBatch(images);
  ASSERT_TRUE(response.ok()) << response.status();
  ASSERT_EQ(response->results_size(), 3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(response->results(i).label(), pixels[i]);
  }
  EXPECT_EQ(server.service().calls(), 1);
}

TEST(ClassifierClientTest, ExplainReturnsTheAttention) {
  FakeServer server;
  const auto response = Connect(server.options())->Explain(Image());
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->tokens(), 5);
  EXPECT_EQ(response->layers_size(), 2);
  EXPECT_EQ(response->rollout().weights_size(), 25);
  EXPECT_THAT(server.service().images(),
              ElementsAre(std::string("\3\0\xff\n", 4)));
}

// gRPC's default limit is 4 MiB.
TEST(ClassifierClientTest, AnExplanationOfManyMegabytesArrives) {
  FakeServer server;
  v1::ExplainResponse large;
  large.mutable_rollout()->mutable_weights()->Resize(3'000'000, 0.5F);
  server.service().ExplainWith(large);
  const auto response = Connect(server.options())->Explain(Image());
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->rollout().weights_size(), 3'000'000);
}

TEST(ClassifierClientTest, AsyncCallsAreInFlightTogether) {
  FakeServer server;
  server.service().ShutGate();
  const auto client = Connect(server.options());
  std::vector<std::future<absl::StatusOr<v1::ClassifyResponse>>> answers;
  for (int i = 0; i < 8; ++i) {
    auto promise =
        std::make_shared<std::promise<absl::StatusOr<v1::ClassifyResponse>>>();
    answers.push_back(promise->get_future());
    // The image is gone before the server has it.
    client->ClassifyAsync(
        std::vector<uint8_t>{static_cast<uint8_t>(i)},
        [promise](absl::StatusOr<v1::ClassifyResponse> response) {
          promise->set_value(std::move(response));
        });
  }
  server.service().OpenGate();
  for (int i = 0; i < 8; ++i) {
    const absl::StatusOr<v1::ClassifyResponse> response = answers[i].get();
    ASSERT_TRUE(response.ok()) << response.status();
    EXPECT_EQ(response->label(), i);
  }
}

TEST(ClassifierClientTest, TheDestructorWaitsForTheCallbacks) {
  FakeServer server;
  ClientOptions options = server.options();
  options.deadline = absl::Milliseconds(100);
  std::atomic<int> called = 0;
  auto client = Connected(options);
  // The calls end by their deadline, some time after the client's end began.
  server.service().ShutGate();
  for (int i = 0; i < 3; ++i) {
    client->ClassifyAsync(
        Image(), [&called](const absl::StatusOr<v1::ClassifyResponse>& answer) {
          EXPECT_EQ(answer.status().code(),
                    absl::StatusCode::kDeadlineExceeded);
          ++called;
        });
  }
  client.reset();
  EXPECT_EQ(called, 3);
}

TEST(ClassifierClientTest, ErrorsKeepTheServersCodeAndMessage) {
  FakeServer server;
  const auto client = Connect(server.options());
  const std::vector<std::span<const uint8_t>> images = {Image()};
  server.service().FailNext(1000, {grpc::StatusCode::INTERNAL, "broken"});
  const std::string message = server.address() + ": broken";
  EXPECT_EQ(client->Classify(Image()).status(), absl::InternalError(message));
  EXPECT_EQ(client->ClassifyBatch(images).status(),
            absl::InternalError(message));
  EXPECT_EQ(client->Explain(Image()).status(), absl::InternalError(message));

  std::promise<absl::Status> status;
  client->ClassifyAsync(
      Image(), [&status](const absl::StatusOr<v1::ClassifyResponse>& answer) {
        status.set_value(answer.status());
      });
  EXPECT_EQ(status.get_future().get(), absl::InternalError(message));
}

TEST(ClassifierClientTest, ACallEndsAtItsDeadline) {
  FakeServer server;
  ClientOptions options = server.options();
  options.deadline = absl::Milliseconds(50);
  const auto client = Connected(options);
  server.service().ShutGate();
  const absl::Time start = absl::Now();
  const absl::Status status = client->Classify(Image()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), StartsWith(server.address()));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(45));
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
}

class RetryTest : public ::testing::TestWithParam<grpc::StatusCode> {};

TEST_P(RetryTest, ACallIsTriedUntilItSucceeds) {
  FakeServer server;
  const auto client = Connected(server.quick_options());
  const int before = server.service().calls();
  server.service().FailNext(3, {GetParam(), "later"});
  const auto response = client->Classify(Image());
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->label(), 3);
  EXPECT_EQ(server.service().calls(), before + 4);
}

TEST_P(RetryTest, ACallIsTriedNoOftenerThanAllowed) {
  for (const int attempts : {1, 2, 5}) {
    FakeServer server;
    ClientOptions options = server.quick_options();
    options.max_attempts = attempts;
    const auto client = Connected(options);
    const int before = server.service().calls();
    server.service().FailNext(1000, {GetParam(), "later"});
    const absl::Status status = client->Classify(Image()).status();
    EXPECT_EQ(status.code(), static_cast<absl::StatusCode>(GetParam()));
    EXPECT_EQ(std::string(status.message()), server.address() + ": later");
    EXPECT_EQ(server.service().calls(), before + attempts);
  }
}

TEST_P(RetryTest, EveryMethodIsRetried) {
  FakeServer server;
  const auto client = Connected(server.quick_options());
  const int before = server.service().calls();
  const std::vector<std::span<const uint8_t>> images = {Image()};
  server.service().FailNext(1, {GetParam(), "later"});
  EXPECT_TRUE(client->ClassifyBatch(images).ok());
  EXPECT_EQ(server.service().calls(), before + 2);
  server.service().FailNext(1, {GetParam(), "later"});
  EXPECT_TRUE(client->Explain(Image()).ok());
  EXPECT_EQ(server.service().calls(), before + 4);
}

// gRPC's own limit is 256 KiB.
TEST_P(RetryTest, ABatchOfMegabytesIsRetried) {
  FakeServer server;
  const auto client = Connected(server.quick_options());
  const std::vector<uint8_t> photograph(1 << 20, 7);
  const std::vector<std::span<const uint8_t>> images(3, photograph);
  server.service().FailNext(2, {GetParam(), "later"});
  const auto response = client->ClassifyBatch(images);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->results_size(), 3);
}

// As many failures as a roll-out makes, and more.
TEST_P(RetryTest, HundredsOfFailuresInARowAreRetried) {
  constexpr int kCalls = 200;
  FakeServer server;
  ClientOptions options = server.quick_options();
  options.max_attempts = 3;
  const auto client = Connected(options);
  for (int i = 0; i < kCalls; ++i) {
    server.service().FailNext(2, {GetParam(), "later"});
    const absl::Status status = client->Classify(Image()).status();
    ASSERT_TRUE(status.ok()) << i << ' ' << status;
  }
}

TEST_P(RetryTest, AServerThatFailsEveryCallIsSparedRetries) {
  constexpr int kCalls = 300;
  FakeServer server;
  ClientOptions options = server.quick_options();
  options.max_attempts = 5;
  const auto client = Connected(options);
  const int before = server.service().calls();
  server.service().FailNext(kCalls * options.max_attempts,
                            {GetParam(), "later"});
  for (int i = 0; i < kCalls; ++i) {
    EXPECT_FALSE(client->Classify(Image()).ok());
  }
  // Retries end when half of the 1000 tokens are spent.
  EXPECT_GT(server.service().calls() - before, kCalls + 300);
  EXPECT_LE(server.service().calls() - before, kCalls + 400);
}

INSTANTIATE_TEST_SUITE_P(
    Codes, RetryTest,
    ::testing::Values(grpc::StatusCode::UNAVAILABLE,
                      grpc::StatusCode::RESOURCE_EXHAUSTED),
    [](const auto& test) {
      return test.param == grpc::StatusCode::UNAVAILABLE ? "Unavailable"
                                                         : "ResourceExhausted";
    });

TEST(ClassifierClientTest, AMistakeIsNotRetried) {
  FakeServer server;
  const auto client = Connect(server.options());
  server.service().FailNext(1, {grpc::StatusCode::INVALID_ARGUMENT, "size"});
  EXPECT_EQ(client->Classify(Image()).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(server.service().calls(), 1);
}

TEST(ClassifierClientTest, AServerThatCannotBeReachedIsUnavailable) {
  const testing::UnusedPort port;
  ClientOptions options;
  options.target = port.address();
  options.deadline = absl::Seconds(30);
  const auto client = Connect(options);
  for (const absl::Status& status :
       {client->Classify(Image()).status(), client->CheckHealth().status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(status.message()), StartsWith(port.address()));
  }
}

TEST(ClassifierClientTest, CallsGoInTurnToAllServers) {
  FakeServer first;
  FakeServer second;
  ClientOptions options = first.options();
  options.target = "ipv4:" + first.address() + "," + second.address();
  const auto client = Connect(options);
  const auto call = [&client] {
    const auto response = client->Classify(Image());
    ASSERT_TRUE(response.ok()) << response.status();
  };
  // Until both are connected, all calls go to the one that is.
  const absl::Time give_up = absl::Now() + absl::Seconds(20);
  while ((first.service().calls() == 0 || second.service().calls() == 0) &&
         absl::Now() < give_up) {
    call();
  }
  const int first_before = first.service().calls();
  const int second_before = second.service().calls();
  for (int i = 0; i < 20; ++i) call();
  EXPECT_EQ(first.service().calls(), first_before + 10);
  EXPECT_EQ(second.service().calls(), second_before + 10);
}

TEST(ClassifierClientTest, AServerThatIsNoLongerHealthyGetsNoCalls) {
  FakeServer leaving;
  FakeServer staying;
  ClientOptions options = leaving.options();
  options.target = "ipv4:" + leaving.address() + "," + staying.address();
  const auto client = Connected(options);
  const auto calls_in_a_while = [&] {
    const int before = leaving.service().calls();
    for (int i = 0; i < 20; ++i) {
      const absl::Status status = client->Classify(Image()).status();
      EXPECT_TRUE(status.ok()) << status;
    }
    return leaving.service().calls() - before;
  };
  const absl::Time give_up = absl::Now() + absl::Seconds(20);
  while (calls_in_a_while() == 0 && absl::Now() < give_up) {
  }
  leaving.SetServing(false);
  while (calls_in_a_while() != 0 && absl::Now() < give_up) {
  }
  EXPECT_EQ(calls_in_a_while(), 0);
  leaving.SetServing(true);
  while (calls_in_a_while() != 10 && absl::Now() < give_up) {
  }
  EXPECT_EQ(calls_in_a_while(), 10);
}

TEST(ClassifierClientTest, WithoutAHealthyServerACallFailsAtOnce) {
  FakeServer server;
  server.SetServing(false);
  const absl::Status status =
      Connect(server.options())->Classify(Image()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("unhealthy"));
  EXPECT_EQ(server.service().calls(), 0);
}

TEST(ClassifierClientTest, CallsWaitForTheirServerToComeBack) {
  const testing::UnusedPort port;
  auto server = std::make_unique<FakeServer>(nullptr, port.address());
  ClientOptions options = server->options();
  // Longer than the restart only by waiting.
  options.max_attempts = 2;
  const auto client = Connected(options);
  server->service().ShutGate();
  std::vector<std::future<absl::Status>> answers;
  const auto call = [&] {
    auto promise = std::make_shared<std::promise<absl::Status>>();
    answers.push_back(promise->get_future());
    client->ClassifyAsync(
        Image(), [promise](const absl::StatusOr<v1::ClassifyResponse>& answer) {
          promise->set_value(answer.status());
        });
  };
  // In flight when the server dies, and made while it is away.
  const int before = server->service().calls();
  call();
  while (server->service().calls() == before) std::this_thread::yield();
  server.reset();
  call();
  server = std::make_unique<FakeServer>(nullptr, port.address());
  for (auto& answer : answers) {
    const absl::Status status = answer.get();
    EXPECT_TRUE(status.ok()) << status;
  }
}

TEST(ClassifierClientTest, AfterWaitingInVainCallsFailAtOnce) {
  const testing::UnusedPort port;
  FakeServer server(nullptr, port.address());
  ClientOptions options = server.quick_options();
  options.deadline = absl::Milliseconds(500);
  const auto client = Connected(options);
  server.Kill();
  // The first may be the one that finds the connection broken.
  const absl::Time give_up = absl::Now() + absl::Seconds(20);
  absl::Status status;
  do {
    status = client->Classify(Image()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  } while (!absl::StrContains(status.message(), "no healthy server") &&
           absl::Now() < give_up);
  EXPECT_EQ(status.message(),
            server.address() + ": no healthy server was reached within 500ms");
  // Unless this machine is so busy that even that takes half a second.
  do {
    status = client->Classify(Image()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  } while (!absl::StrContains(status.message(), "refused") &&
           absl::Now() < give_up);
  EXPECT_THAT(std::string(status.message()), HasSubstr("refused"));
}

TEST(ClassifierClientTest, TheHealthOfTheServerIsTold) {
  FakeServer server;
  const auto client = Connect(server.options());
  EXPECT_EQ(client->CheckHealth().value(), Health::kServing);
  EXPECT_EQ(client->CheckHealth("vit.v1.Classifier").value(), Health::kServing);
  EXPECT_EQ(client->CheckHealth("no.such.Service").status().code(),
            absl::StatusCode::kNotFound);
  server.SetServing(false);
  EXPECT_EQ(client->CheckHealth().value(), Health::kNotServing);
}

// Says what gRPC's own health service never does.
class FakeHealth final : public grpc::health::v1::Health::Service {
 public:
  grpc::Status Check(grpc::ServerContext*,
                     const grpc::health::v1::HealthCheckRequest* request,
                     grpc::health::v1::HealthCheckResponse* response) override {
    ++calls;
    if (request->service() == "unavailable") {
      return {grpc::StatusCode::UNAVAILABLE, "later"};
    }
    response->set_status(grpc::health::v1::HealthCheckResponse::UNKNOWN);
    return grpc::Status::OK;
  }

  std::atomic<int> calls = 0;
};

TEST(ClassifierClientTest, AnUnknownHealthIsTold) {
  FakeHealth health;
  FakeServer server(&health);
  EXPECT_EQ(Connect(server.options())->CheckHealth().value(), Health::kUnknown);
}

TEST(ClassifierClientTest, TheCheckOfTheHealthIsNotRetried) {
  FakeHealth health;
  FakeServer server(&health);
  const absl::Status status =
      Connect(server.options())->CheckHealth("unavailable").status();
  EXPECT_EQ(status, absl::UnavailableError(server.address() + ": later"));
  EXPECT_EQ(health.calls, 1);
}

TEST(ClassifierClientTest, TheEnvironmentsProxyIsNotUsed) {
  const testing::UnusedPort proxy;
  setenv("grpc_proxy", ("http://" + proxy.address()).c_str(), 1);
  // Ahead of no_proxy, which may name this machine.
  setenv("no_grpc_proxy", "nothing.invalid", 1);
  FakeServer server;
  const auto response = Connect(server.options())->Classify(Image());
  unsetenv("grpc_proxy");
  unsetenv("no_grpc_proxy");
  EXPECT_TRUE(response.ok()) << response.status();
}

struct BadOptions {
  const char* name;
  void (*spoil)(ClientOptions&);
  const char* message;
};

class BadOptionsTest : public ::testing::TestWithParam<BadOptions> {};

TEST_P(BadOptionsTest, AreRejectedWithTheReason) {
  ClientOptions options;
  GetParam().spoil(options);
  const absl::Status status = ClassifierClient::Create(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Options, BadOptionsTest,
    ::testing::Values(
        BadOptions{"EmptyTarget", [](ClientOptions& o) { o.target = ""; },
                   "the server's address is empty"},
        BadOptions{"NoDeadline",
                   [](ClientOptions& o) { o.deadline = absl::ZeroDuration(); },
                   "the deadline must be more than zero"},
        BadOptions{"NoAttempts", [](ClientOptions& o) { o.max_attempts = 0; },
                   "max_attempts is 0, expected 1 to 5"},
        BadOptions{"TooManyAttempts",
                   [](ClientOptions& o) { o.max_attempts = 6; },
                   "max_attempts is 6, expected 1 to 5"},
        BadOptions{
            "NoBackoff",
            [](ClientOptions& o) { o.initial_backoff = absl::ZeroDuration(); },
            "backoff"},
        BadOptions{"MaximumBelowTheFirst",
                   [](ClientOptions& o) {
                     o.max_backoff = o.initial_backoff - absl::Milliseconds(1);
                   },
                   "backoff"},
        BadOptions{"NoMultiplier",
                   [](ClientOptions& o) { o.backoff_multiplier = 0; },
                   "backoff"},
        BadOptions{"MultiplierThatIsNoNumber",
                   [](ClientOptions& o) {
                     o.backoff_multiplier =
                         std::numeric_limits<double>::quiet_NaN();
                   },
                   "backoff"}),
    [](const auto& test) { return test.param.name; });

TEST(ServiceConfigTest, StatesRetriesAndLoadBalancing) {
  ClientOptions options;
  options.max_attempts = 3;
  options.initial_backoff = absl::Microseconds(1500);
  options.max_backoff = absl::Seconds(2);
  options.backoff_multiplier = 1.5;
  const nlohmann::json expected = nlohmann::json::parse(R"({
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": "vit.v1.Classifier"},
    "retryThrottling": {"maxTokens": 1000, "tokenRatio": 0.1},
    "methodConfig": [{
      "name": [{"service": "vit.v1.Classifier"}],
      "retryPolicy": {
        "maxAttempts": 3,
        "initialBackoff": "0.001500s",
        "maxBackoff": "2.000000s",
        "backoffMultiplier": 1.5,
        "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"]
      }
    }, {
      "name": [{"service": "vit.v1.Classifier", "method": "ClassifyStream"}]
    }]
  })");
  EXPECT_EQ(nlohmann::json::parse(ServiceConfigJson(options)), expected);
}

TEST(ServiceConfigTest, OneAttemptNeedsNoPolicy) {
  ClientOptions options;
  options.max_attempts = 1;
  EXPECT_THAT(ServiceConfigJson(options),
              AllOf(HasSubstr("round_robin"),
                    ::testing::Not(HasSubstr("retryPolicy"))));
}

}  // namespace
}  // namespace vit::client
