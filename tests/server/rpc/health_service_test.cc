#include "server/rpc/health_service.h"

#include <gmock/gmock.h>

#include <future>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "grpc/health/v1/health.pb.h"
#include "tests/server/rpc/raw_stream.h"
#include "tests/server/server_fixture.h"

namespace vit {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using ::testing::HasSubstr;
using testing::RawStream;

constexpr char kCheck[] = "/grpc.health.v1.Health/Check";
constexpr char kWatch[] = "/grpc.health.v1.Health/Watch";

class HealthServiceTest : public testing::ServerFixture {
 protected:
  grpc::Status Check(const std::string& service,
                     HealthCheckResponse* response) {
    RawStream call(channel_, kCheck);
    HealthCheckRequest request;
    request.set_service(service);
    EXPECT_TRUE(call.Send(request));
    call.SendEnd();
    const auto answer = call.Read<HealthCheckResponse>();
    if (answer.has_value()) *response = *answer;
    return call.Finish();
  }

  std::unique_ptr<RawStream> Watch(const std::string& service) {
    auto watch = std::make_unique<RawStream>(channel_, kWatch);
    HealthCheckRequest request;
    request.set_service(service);
    EXPECT_TRUE(watch->Send(request));
    return watch;
  }

  // The next status that is told; -1 if the stream has ended.
  static int Next(RawStream& watch) {
    const auto response = watch.Read<HealthCheckResponse>();
    return response.has_value() ? response->status() : -1;
  }
};

TEST_F(HealthServiceTest, TheServerAndItsServiceAreChecked) {
  StartServer();
  HealthCheckResponse response;
  for (const char* service : {"", "vit.v1.Classifier"}) {
    ASSERT_TRUE(Check(service, &response).ok());
    EXPECT_EQ(response.status(), HealthCheckResponse::SERVING);
  }
  state_.SetStalled(true);
  ASSERT_TRUE(Check("", &response).ok());
  EXPECT_EQ(response.status(), HealthCheckResponse::NOT_SERVING);
}

TEST_F(HealthServiceTest, AnUnknownServiceIsNotFoundButCanBeWatched) {
  StartServer();
  HealthCheckResponse response;
  const grpc::Status status = Check("cat", &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("'cat'"));
  const auto watch = Watch("cat");
  EXPECT_EQ(Next(*watch), HealthCheckResponse::SERVICE_UNKNOWN);
}

TEST_F(HealthServiceTest, WhoWatchesLearnsOfEveryChangeAndThenOfTheEnd) {
  StartServer();
  std::vector<std::unique_ptr<RawStream>> watches;
  watches.push_back(Watch(""));
  watches.push_back(Watch("vit.v1.Classifier"));
  const auto expect_next = [&](int status) {
    for (const auto& watch : watches) EXPECT_EQ(Next(*watch), status);
  };
  expect_next(HealthCheckResponse::SERVING);
  state_.SetStalled(true);
  expect_next(HealthCheckResponse::NOT_SERVING);
  state_.SetStalled(false);
  expect_next(HealthCheckResponse::SERVING);
  auto drained =
      std::async(std::launch::async, [&] { return server_->Drain(); });
  // The last status comes before the end.
  expect_next(HealthCheckResponse::NOT_SERVING);
  expect_next(-1);
  for (const auto& watch : watches) {
    EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  }
  EXPECT_TRUE(drained.get());
}

TEST_F(HealthServiceTest, ADrainEndsAWatchOfAnUnknownServiceToo) {
  StartServer();
  const auto watch = Watch("cat");
  EXPECT_EQ(Next(*watch), HealthCheckResponse::SERVICE_UNKNOWN);
  EXPECT_TRUE(server_->Drain());
  EXPECT_EQ(Next(*watch), -1);
  EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(HealthServiceTest, AWatchThatNeverSaidWhatHoldsUpNoDrain) {
  StartServer();
  RawStream silent(channel_, kWatch);
  ASSERT_TRUE(silent.started());
  // It has come once a later one is answered.
  EXPECT_EQ(Next(*Watch("")), HealthCheckResponse::SERVING);
  EXPECT_TRUE(server_->Drain());
  while (Next(silent) != -1) {
  }
  EXPECT_EQ(silent.Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(HealthServiceTest, AWatcherThatGoesAwayIsForgotten) {
  StartServer();
  for (int i = 0; i < 20; ++i) {
    const auto watch = Watch("");
    EXPECT_EQ(Next(*watch), HealthCheckResponse::SERVING);
    watch->Cancel();
    EXPECT_EQ(watch->Finish().error_code(), grpc::StatusCode::CANCELLED);
    state_.SetStalled(i % 2 == 0);
    state_.SetStalled(false);
  }
  EXPECT_TRUE(server_->Drain());
}

TEST_F(HealthServiceTest, WhatIsNoRequestIsInvalid) {
  StartServer();
  for (const char* method : {kCheck, kWatch}) {
    RawStream bad(channel_, method);
    ASSERT_TRUE(bad.SendBytes("\xff\xff\xff"));
    EXPECT_EQ(bad.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    RawStream empty(channel_, method);
    ASSERT_TRUE(empty.SendEnd());
    EXPECT_EQ(empty.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
}

// As when a server that shares the state could not listen.
TEST_F(HealthServiceTest, TheStateMayOutliveIt) {
  StartServer();
  auto gone = std::make_unique<HealthService>(&state_, std::set<std::string>());
  gone.reset();
  state_.SetStalled(true);
  EXPECT_FALSE(state_.ready());
}

}  // namespace
}  // namespace vit
