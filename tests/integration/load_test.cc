#include <gmock/gmock.h>

#include <string>

#include "nlohmann/json.hpp"
#include "tests/integration/child_process.h"
#include "tests/integration/server_process.h"
#include "tests/integration/temporary_folder.h"
#include "tests/integration/tools.h"

namespace vit {
namespace {

using testing::ChildProcess;
using ::testing::HasSubstr;
using testing::ReadFile;
using testing::ServerProcess;
using testing::TemporaryFolder;
using testing::Tool;

constexpr char kAnswered[] =
    R"(vit_requests_total{code="OK",method="Classify"})";

// Expects that ghz's report knows no other answer than OK, and returns how
// many there were.
int AllOk(const nlohmann::json& report) {
  EXPECT_EQ(report["statusCodeDistribution"].size(), 1)
      << report["statusCodeDistribution"].dump();
  EXPECT_TRUE(report["errorDistribution"].empty())
      << report["errorDistribution"].dump();
  const int count = report["count"];
  EXPECT_EQ(report["statusCodeDistribution"]["OK"], count);
  return count;
}

TEST(LoadTest, UnderTheLoadScriptEveryCallIsAnsweredAndCounted) {
  ASSERT_NE(Tool("ghz"), "");
  ServerProcess server;
  ASSERT_TRUE(server.ready());
  ChildProcess load({VIT_SOURCE_DIR "/scripts/load",
                     "--address=" + server.grpc_address(), "--duration=1s",
                     "closed-8"});
  ASSERT_EQ(load.Wait(), 0) << load.output();
  EXPECT_THAT(load.output(), HasSubstr("closed-8"));
  const nlohmann::json report = nlohmann::json::parse(
      ReadFile(VIT_SOURCE_DIR "/build/load/closed-8.json"));
  const int count = AllOk(report);
  EXPECT_GT(count, 100);
  EXPECT_EQ(report["options"]["host"], server.grpc_address());
  EXPECT_EQ(server.Metric(kAnswered), count);
  // Eight at a time, so some shared a batch.
  EXPECT_LT(server.Metric("vit_batch_size_count"), count);
}

TEST(LoadTest, AClientWithoutTheProtoFileCallsByReflection) {
  const std::string ghz = Tool("ghz");
  ASSERT_NE(ghz, "");
  ServerProcess server;
  ASSERT_TRUE(server.ready());
  const TemporaryFolder folder;
  const std::string path = folder.File("report.json");
  const std::string images = VIT_SOURCE_DIR "/deploy/ghz/images.json";
  ChildProcess load({ghz, "--insecure", "--call=vit.v1.Classifier.Classify",
                     "--data-file=" + images, "--total=20", "--concurrency=1",
                     "--format=json", "--output=" + path,
                     server.grpc_address()});
  ASSERT_EQ(load.Wait(), 0) << load.output();
  EXPECT_EQ(AllOk(nlohmann::json::parse(ReadFile(path))), 20);
  EXPECT_EQ(server.Metric(kAnswered), 20);
}

}  // namespace
}  // namespace vit
