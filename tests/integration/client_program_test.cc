#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/integration/child_process.h"
#include "tests/integration/server_process.h"
#include "tests/integration/temporary_folder.h"
#include "tests/integration/test_set.h"

// The real vit-client against the real server.
namespace vit {
namespace {

using ::testing::AllOf;
using testing::ChildProcess;
using ::testing::HasSubstr;
using testing::kImagesFile;
using testing::kLabelsFile;
using testing::ReadFile;
using testing::ServerProcess;
using ::testing::StartsWith;
using testing::TemporaryFolder;
using testing::TestSet;

class ClientProgramTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(server_.ready()); }

  // Runs vit-client and returns its output.
  std::string Run(const std::vector<std::string>& arguments, int expected) {
    std::vector<std::string> command = {VIT_BIN_DIR "/vit-client",
                                        "--server=" + server_.grpc_address()};
    command.insert(command.end(), arguments.begin(), arguments.end());
    ChildProcess client(command);
    EXPECT_EQ(client.Wait(), expected) << client.output();
    return client.output();
  }

  ServerProcess server_;
};

TEST_F(ClientProgramTest, HealthSaysServingAndOfAnEndedServerFails) {
  EXPECT_EQ(Run({"health"}, 0), "SERVING\n");
  EXPECT_EQ(server_.Terminate(), 0);
  EXPECT_THAT(Run({"health"}, 1), AllOf(HasSubstr("UNAVAILABLE"),
                                        HasSubstr(server_.grpc_address())));
}

TEST_F(ClientProgramTest, ClassifyNamesTheDigitOfAnIdxFilesImage) {
  for (const int index : {0, 1, 2, 3}) {
    const std::string output =
        Run({"classify", "--index=" + std::to_string(index), kImagesFile}, 0);
    EXPECT_THAT(output,
                StartsWith(std::string(kImagesFile) + ": " +
                           std::to_string(TestSet::Get().label(index)) + " ("));
    EXPECT_THAT(output, AllOf(HasSubstr("probabilities"),
                              HasSubstr("in a batch of 1\n")));
  }
}

TEST_F(ClientProgramTest, ClassifyFailsOnAFileThatIsNotThere) {
  EXPECT_THAT(Run({"classify", "/no/such.png"}, 1), HasSubstr("/no/such.png"));
  EXPECT_EQ(server_.Metric("vit_images_total"), 0);
}

TEST_F(ClientProgramTest, EvalReportsTheAccuracyAsJson) {
  const TemporaryFolder folder;
  const std::string predictions = folder.File("predictions");
  const auto report = nlohmann::json::parse(
      Run({"eval", "--images", kImagesFile, "--labels", kLabelsFile,
           "--limit=500", "--json", "--predictions=" + predictions},
          0));
  EXPECT_EQ(report["images"], 500);
  EXPECT_EQ(report["failed"], 0);
  EXPECT_GE(report["accuracy"], 0.98);
  EXPECT_EQ(report["accuracy"].get<double>(),
            report["correct"].get<int>() / 500.0);
  EXPECT_GT(report["latency_seconds"]["p99"], 0);
  EXPECT_THAT(ReadFile(predictions),
              StartsWith(std::to_string(TestSet::Get().label(0)) + "\n"));
  EXPECT_EQ(server_.Metric("vit_images_total"), 500);
}

TEST_F(ClientProgramTest, ExplainPrintsTheTableAndWritesAPng) {
  const TemporaryFolder folder;
  const std::string picture = folder.File("attention.png");
  const std::string output = Run({"explain", "--images", kImagesFile,
                                  "--index=0", "--top=3", "--out=" + picture},
                                 0);
  EXPECT_THAT(output,
              AllOf(HasSubstr(std::string(kImagesFile) + ": " +
                              std::to_string(TestSet::Get().label(0)) + " ("),
                    HasSubstr("rollout over all layers"),
                    HasSubstr("Attending to"), HasSubstr("[CLS]"),
                    HasSubstr("14 others"), HasSubstr("wrote " + picture)));
  EXPECT_THAT(ReadFile(picture), StartsWith("\x89PNG\r\n\x1a\n"));
}

}  // namespace
}  // namespace vit
