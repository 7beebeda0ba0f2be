#include <gmock/gmock.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/support/byte_buffer.h>
#include <signal.h>

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/integration/server_process.h"

// What a server says of itself: the probes over gRPC and HTTP, and reflection.
namespace vit {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;
using ::testing::HasSubstr;
using testing::ServerProcess;
using testing::SetPatience;

constexpr char kService[] = "vit.v1.Classifier";

grpc::Status Check(const ServerProcess& server, const std::string& service,
                   HealthCheckResponse* response) {
  grpc::ClientContext context;
  SetPatience(&context);
  HealthCheckRequest request;
  request.set_service(service);
  return Health::NewStub(server.channel())->Check(&context, request, response);
}

TEST(HealthTest, CheckSaysServingOfTheServerAndOfTheService) {
  ServerProcess server;
  ASSERT_TRUE(server.ready());
  for (const std::string service : {"", kService}) {
    HealthCheckResponse response;
    const grpc::Status status = Check(server, service, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.status(), HealthCheckResponse::SERVING) << service;
  }
  HealthCheckResponse response;
  EXPECT_EQ(Check(server, "no.such.Service", &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

// A Watch, which the client's own copy of the protocol leaves out.
class Watch {
 public:
  Watch(const ServerProcess& server, const std::string& service)
      : stub_(server.channel()) {
    SetPatience(&context_);
    call_ =
        stub_.PrepareCall(&context_, "/grpc.health.v1.Health/Watch", &queue_);
    call_->StartCall(this);
    EXPECT_TRUE(Completed());
    HealthCheckRequest request;
    request.set_service(service);
    call_->WriteLast(request, grpc::WriteOptions(), this);
    EXPECT_TRUE(Completed());
  }

  // What the server says next; UNKNOWN if it says nothing more.
  HealthCheckResponse::ServingStatus Next() {
    HealthCheckResponse response;
    call_->Read(&response, this);
    return Completed() ? response.status() : HealthCheckResponse::UNKNOWN;
  }

  grpc::Status Finish() {
    grpc::Status status;
    call_->Finish(&status, this);
    EXPECT_TRUE(Completed());
    return status;
  }

 private:
  // The call has a deadline, so this ends.
  bool Completed() {
    void* tag = nullptr;
    bool ok = false;
    return queue_.Next(&tag, &ok) && ok;
  }

  grpc::TemplatedGenericStub<HealthCheckRequest, HealthCheckResponse> stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<
      grpc::ClientAsyncReaderWriter<HealthCheckRequest, HealthCheckResponse>>
      call_;
};

TEST(HealthTest, WatchersHearServingAndOnShutdownNotServing) {
  ServerProcess server;
  ASSERT_TRUE(server.ready());
  Watch all(server, "");
  Watch one(server, kService);
  EXPECT_EQ(all.Next(), HealthCheckResponse::SERVING);
  EXPECT_EQ(one.Next(), HealthCheckResponse::SERVING);
  server.Signal(SIGTERM);
  EXPECT_EQ(all.Next(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(one.Next(), HealthCheckResponse::NOT_SERVING);
  // Those who watch do not hold up the end.
  EXPECT_EQ(server.Wait(), 0) << server.process().output();
  EXPECT_FALSE(all.Finish().ok());
  EXPECT_FALSE(one.Finish().ok());
}

TEST(HealthTest, AWatcherOfAnUnknownServiceHearsSo) {
  ServerProcess server;
  ASSERT_TRUE(server.ready());
  Watch unknown(server, "no.such.Service");
  EXPECT_EQ(unknown.Next(), HealthCheckResponse::SERVICE_UNKNOWN);
}

TEST(HealthTest, TheHttpProbesSayAliveAndReady) {
  ServerProcess server;
  ASSERT_TRUE(server.ready());
  EXPECT_EQ(server.HttpGet("/healthz").status, 200);
  EXPECT_EQ(server.HttpGet("/readyz").status, 200);
  EXPECT_EQ(server.HttpGet("/metrics").status, 200);
  EXPECT_EQ(server.HttpGet("/nothing").status, 404);
}

// One ServerReflectionRequest of a single field and the answer to it, both as
// protobuf writes them: the reflection's messages are not installed with gRPC.
std::string Reflect(const ServerProcess& server, char field,
                    const std::string& value) {
  constexpr char kLengthDelimited = 2;
  const std::string bytes = {static_cast<char>(field << 3 | kLengthDelimited),
                             static_cast<char>(value.size())};
  const grpc::Slice slice(bytes + value);
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer response;
  grpc::ClientContext context;
  SetPatience(&context);
  std::promise<grpc::Status> done;
  grpc::GenericStub(server.channel())
      .UnaryCall(&context,
                 "/grpc.reflection.v1alpha.ServerReflection/"
                 "ServerReflectionInfo",
                 grpc::StubOptions(), &request, &response,
                 [&done](const grpc::Status& s) { done.set_value(s); });
  const grpc::Status status = done.get_future().get();
  EXPECT_TRUE(status.ok()) << status.error_message();
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(response.Dump(&slices).ok());
  std::string text;
  for (const grpc::Slice& part : slices) {
    text.append(reinterpret_cast<const char*>(part.begin()), part.size());
  }
  return text;
}

TEST(ReflectionTest, ListsTheServicesAndDescribesThem) {
  constexpr char kFileContainingSymbol = 4;
  constexpr char kListServices = 7;
  ServerProcess server;
  ASSERT_TRUE(server.ready());
  const std::string services = Reflect(server, kListServices, "*");
  EXPECT_THAT(services, HasSubstr(kService));
  EXPECT_THAT(services, HasSubstr("grpc.health.v1.Health"));
  const std::string file = Reflect(server, kFileContainingSymbol, kService);
  EXPECT_THAT(file, HasSubstr("vit/v1/classifier.proto"));
  EXPECT_THAT(file, HasSubstr("ClassifyStream"));
}

}  // namespace
}  // namespace vit
