#ifndef MNIST_VIT_TESTS_SERVER_SERVER_FIXTURE_H_
#define MNIST_VIT_TESTS_SERVER_SERVER_FIXTURE_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/http/http_server.h"
#include "server/http/probes.h"
#include "server/server.h"
#include "tests/server/fake_classifier.h"
#include "tests/server/http_client.h"
#include "vit/v1/classifier.grpc.pb.h"

namespace vit::testing {

// A real server in this process, whose workers' classifiers are fake, and a
// real channel to it.
class ServerFixture : public ::testing::Test {
 protected:
  void StartServer(int max_queue_size = 64, int max_calls_per_connection = 0,
                   int workers = 1) {
    ServerOptions options;
    options.address = "127.0.0.1:0";
    options.max_batch_size = 8;
    options.max_queue_size = max_queue_size;
    options.max_calls_per_connection = max_calls_per_connection;
    options.drain_timeout_seconds = 20;
    std::vector<HttpRoute> routes = ProbeRoutes(&state_);
    // Tests ask for metrics in a loop, so without an interval.
    routes.push_back(MetricsRoute({registry_}, Clock::duration::zero()));
    auto http = HttpServer::Start("127.0.0.1:0", std::move(routes));
    ASSERT_TRUE(http.ok()) << http.status();
    http_ = *std::move(http);
    auto server =
        Server::Start(options, FakeClassifiers(control_, workers),
                      {{"version", "test"}}, registry_.get(), &state_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = Connect();
    stub_ = v1::Classifier::NewStub(channel_);
  }

  // A channel with a connection of its own.
  std::shared_ptr<grpc::Channel> Connect() const {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    return grpc::CreateCustomChannel(
        "127.0.0.1:" + std::to_string(server_->port()),
        grpc::InsecureChannelCredentials(), arguments);
  }

  void TearDown() override { control_->OpenGate(); }

  static v1::ClassifyRequest Request(int value) {
    v1::ClassifyRequest request;
    request.set_image(FakeImage(value));
    return request;
  }

  // One Classify call on its own, with a deadline that a broken test hits.
  grpc::Status Classify(int value, v1::ClassifyResponse* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::seconds(30));
    return stub_->Classify(&context, Request(value), response);
  }

  // Waits until so many images wait in the queue.
  void WaitForQueue(int depth) {
    const std::string line = "vit_queue_depth " + std::to_string(depth) + "\n";
    while (Metrics().find(line) == std::string::npos) {
      std::this_thread::yield();
    }
  }

  std::string Metrics() { return HttpAnswer(http_->port(), "GET /metrics"); }

  std::shared_ptr<FakeControl> control_ = std::make_shared<FakeControl>();
  std::shared_ptr<prometheus::Registry> registry_ =
      std::make_shared<prometheus::Registry>();
  ServingState state_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Classifier::Stub> stub_;
};

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_SERVER_SERVER_FIXTURE_H_
