#include "server/rpc/reflection_service.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.pb.h>

#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "grpc/reflection/v1/reflection.pb.h"
#include "grpc/reflection/v1alpha/reflection.pb.h"
#include "tests/server/rpc/raw_stream.h"
#include "tests/server/server_fixture.h"

namespace vit {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::RawStream;

struct V1 {
  static constexpr char kMethod[] =
      "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
  using Request = grpc::reflection::v1::ServerReflectionRequest;
  using Response = grpc::reflection::v1::ServerReflectionResponse;
};
struct V1Alpha {
  static constexpr char kMethod[] =
      "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";
  using Request = grpc::reflection::v1alpha::ServerReflectionRequest;
  using Response = grpc::reflection::v1alpha::ServerReflectionResponse;
};

size_t Threads() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return std::distance(begin(tasks), end(tasks));
}

template <typename Version>
class ReflectionServiceTest : public testing::ServerFixture {
 protected:
  using Request = typename Version::Request;
  using Response = typename Version::Response;

  static Response Ask(RawStream& stream, const Request& request) {
    EXPECT_TRUE(stream.Send(request));
    auto response = stream.Read<Response>();
    EXPECT_TRUE(response.has_value());
    return response.value_or(Response());
  }

  // The names of the files that were answered.
  static std::vector<std::string> Files(const Response& response) {
    std::vector<std::string> names;
    for (const std::string& bytes :
         response.file_descriptor_response().file_descriptor_proto()) {
      google::protobuf::FileDescriptorProto file;
      EXPECT_TRUE(file.ParseFromString(bytes));
      names.push_back(file.name());
    }
    return names;
  }
};

using Versions = ::testing::Types<V1, V1Alpha>;
TYPED_TEST_SUITE(ReflectionServiceTest, Versions);

TYPED_TEST(ReflectionServiceTest, OneStreamAnswersOneRequestAfterAnother) {
  this->StartServer();
  RawStream stream(this->channel_, TypeParam::kMethod);
  typename TypeParam::Request request;

  request.set_host("here");
  request.set_list_services("");
  auto response = this->Ask(stream, request);
  EXPECT_EQ(response.valid_host(), "here");
  EXPECT_EQ(response.original_request().host(), "here");
  std::vector<std::string> services;
  for (const auto& service : response.list_services_response().service()) {
    services.push_back(service.name());
  }
  EXPECT_THAT(services, ElementsAre("vit.v1.Classifier", "vit.v1.Models",
                                    "grpc.health.v1.Health"));

  for (const char* symbol : {"vit.v1.Classifier", "vit.v1.Classifier.Classify",
                             "vit.v1.ClassifyRequest"}) {
    request.set_file_containing_symbol(symbol);
    EXPECT_THAT(this->Files(this->Ask(stream, request)),
                ElementsAre("vit/v1/classifier.proto"))
        << symbol;
  }
  request.set_file_containing_symbol(
      "grpc.reflection.v1.ServerReflectionRequest");
  EXPECT_THAT(this->Files(this->Ask(stream, request)),
              Contains("grpc/reflection/v1/reflection.proto"));

  request.set_file_by_filename("grpc/health/v1/health.proto");
  EXPECT_THAT(this->Files(this->Ask(stream, request)),
              ElementsAre("grpc/health/v1/health.proto"));

  request.set_all_extension_numbers_of_type("vit.v1.ClassifyRequest");
  response = this->Ask(stream, request);
  EXPECT_EQ(response.all_extension_numbers_response().base_type_name(),
            "vit.v1.ClassifyRequest");

  EXPECT_TRUE(stream.SendEnd());
  EXPECT_TRUE(stream.Finish().ok());
}

TYPED_TEST(ReflectionServiceTest, WhatIsUnknownIsAnErrorAndTheStreamGoesOn) {
  this->StartServer();
  RawStream stream(this->channel_, TypeParam::kMethod);
  std::vector<typename TypeParam::Request> requests(4);
  requests[0].set_file_containing_symbol("cat.v1.Cat");
  requests[1].set_file_by_filename("cat.proto");
  requests[2].set_all_extension_numbers_of_type("cat.v1.Cat");
  requests[3].mutable_file_containing_extension()->set_containing_type(
      "cat.v1.Cat");
  for (const auto& request : requests) {
    const auto response = this->Ask(stream, request);
    EXPECT_EQ(response.error_response().error_code(),
              static_cast<int>(grpc::StatusCode::NOT_FOUND));
    EXPECT_THAT(response.error_response().error_message(), HasSubstr("'cat"));
  }
  EXPECT_EQ(this->Ask(stream, {}).error_response().error_code(),
            static_cast<int>(grpc::StatusCode::INVALID_ARGUMENT));
}

TYPED_TEST(ReflectionServiceTest, WhatIsNoRequestEndsTheStream) {
  this->StartServer();
  RawStream stream(this->channel_, TypeParam::kMethod);
  ASSERT_TRUE(stream.SendBytes("\xff\xff\xff"));
  EXPECT_EQ(stream.Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TYPED_TEST(ReflectionServiceTest, StreamsNeedNoThreadsAndEndWithTheServer) {
  this->StartServer();
  typename TypeParam::Request request;
  request.set_list_services("");
  std::vector<std::unique_ptr<RawStream>> streams;
  size_t before = 0;
  for (int i = 0; i < 40; ++i) {
    streams.push_back(
        std::make_unique<RawStream>(this->channel_, TypeParam::kMethod));
    this->Ask(*streams.back(), request);
    // gRPC's own threads are there by then.
    if (i == 8) before = Threads();
  }
  EXPECT_LT(Threads(), before + 8);
  EXPECT_TRUE(this->server_->Drain());
  for (const auto& stream : streams) {
    EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
  }
}

}  // namespace
}  // namespace vit
