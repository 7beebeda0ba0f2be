#ifndef MNIST_VIT_TESTS_SERVER_SERVER_FIXTURE_H_
#define MNIST_VIT_TESTS_SERVER_SERVER_FIXTURE_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>

#include <algorithm>
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
  ServerFixture() {
    options_.address = "127.0.0.1:0";
    options_.max_batch_size = 8;
    options_.admin_address = "";
    options_.lame_duck_seconds = 0;
    options_.drain_timeout_seconds = 20;
    // Loopback is slow under sanitizers, and tests hold the gate shut.
    options_.watchdog_seconds = 0;
  }

  void StartServer(int max_queue_size = 64, int max_calls_per_connection = 0,
                   int workers = 1) {
    options_.max_queue_size = max_queue_size;
    options_.max_calls_per_connection = max_calls_per_connection;
    StartServerWith(workers);
  }

  // As options_ say.
  void StartServerWith(int workers = 1) {
    options_.max_images_per_call =
        std::min(options_.max_images_per_call, options_.max_queue_size);
    std::vector<HttpRoute> routes = ProbeRoutes(&state_);
    // Tests ask for metrics in a loop, so without an interval.
    routes.push_back(MetricsRoute({registry_}, Clock::duration::zero()));
    auto http = HttpServer::Start("127.0.0.1:0", std::move(routes));
    ASSERT_TRUE(http.ok()) << http.status();
    http_ = *std::move(http);
    pool_ = std::make_unique<WorkerPool>(workers, options_.max_batch_size);
    ModelQueueOptions queue_options;
    queue_options.policy.max_batch_size = options_.max_batch_size;
    queue_options.max_queue_size = options_.max_queue_size;
    std::vector<std::unique_ptr<Classifier>> classifiers =
        FakeClassifiers(control_, workers);
    const ModelInfo info = classifiers.front()->info();
    queue_ =
        ModelQueue::Create(pool_.get(), queue_options, std::move(classifiers),
                           metrics_.ForModel(info));
    own_memory_.Measure();
    auto server = Server::Start(options_, Parts(info));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = Connect();
    stub_ = v1::Classifier::NewStub(channel_);
  }

  ServerParts Parts(const ModelInfo& info) {
    return {.state = &state_,
            .pool = pool_.get(),
            .metrics = &metrics_,
            .pick_model = [this](const std::string& model, const std::string&)
                -> absl::StatusOr<std::shared_ptr<ModelQueue>> {
              if (model.empty() || model == "fake") return queue_;
              return absl::NotFoundError("unknown model; there is: fake");
            },
            .list_models = [] { return std::vector<ModelStatus>(); },
            .request_reload =
                [](const OnReloaded& done) {
                  done(absl::UnavailableError("nothing to reload"));
                },
            .budget = MakeMemoryBudget(
                {.granted = int64_t{1} << 30,
                 .image_bytes = info.image.size(),
                 .max_images_per_call = options_.max_images_per_call,
                 .max_queue_size = options_.max_queue_size,
                 .max_explanations = options_.max_explanations,
                 .max_connections = options_.max_connections}),
            .own_memory = &own_memory_,
            .on_hung = nullptr};
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
    const std::string line = "vit_queue_depth{model=\"fake\",version=\"7\"} " +
                             std::to_string(depth) + "\n";
    while (Metrics().find(line) == std::string::npos) {
      std::this_thread::yield();
    }
  }

  std::string Metrics() { return HttpAnswer(http_->port(), "GET /metrics"); }

  std::shared_ptr<FakeControl> control_ = std::make_shared<FakeControl>();
  std::shared_ptr<prometheus::Registry> registry_ =
      std::make_shared<prometheus::Registry>();
  ServerOptions options_;
  ServingState state_;
  OwnMemory own_memory_;
  vit::Metrics metrics_{registry_.get(), {{"version", "test"}}};
  std::unique_ptr<WorkerPool> pool_;
  std::shared_ptr<ModelQueue> queue_;
  std::unique_ptr<HttpServer> http_;
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Classifier::Stub> stub_;
};

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_SERVER_SERVER_FIXTURE_H_
