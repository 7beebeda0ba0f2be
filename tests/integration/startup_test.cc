#include <gmock/gmock.h>

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/integration/child_process.h"
#include "tests/integration/server_process.h"
#include "tests/integration/temporary_folder.h"
#include "tests/integration/test_set.h"

// What the server starts with, and what it refuses to start with.
namespace vit {
namespace {

using ::testing::AllOf;
using testing::ChildProcess;
using ::testing::HasSubstr;
using testing::ModelPath;
using ::testing::Not;
using testing::ReadFile;
using testing::ServerCommand;
using testing::ServerProcess;
using testing::TemporaryFolder;
using testing::TestSet;

constexpr char kGoldenPath[] =
    VIT_SOURCE_DIR "/model/weights/mnist-vit.golden.safetensors";

// Expects that the server ends by itself, with a failure, before it is ready.
// Returns the lines that speak of the error.
std::string ErrorOf(const std::vector<std::string>& flags,
                    const std::vector<std::string>& environment = {}) {
  ChildProcess server(ServerCommand(flags), environment);
  EXPECT_EQ(server.Wait(), 1) << server.output();
  EXPECT_THAT(server.output(), Not(HasSubstr("ready after")));
  const size_t error = server.output().find("error: ");
  if (error == std::string::npos) {
    ADD_FAILURE() << "no error line in\n" << server.output();
    return "";
  }
  return server.output().substr(error);
}

// The shipped weights with one bias of the last layer off by a hundredth, and
// without their digest, which would find that before the golden answers do.
std::string WeightsOffByALittle() {
  const std::string file = ReadFile(ModelPath());
  uint64_t header_size = 0;
  std::memcpy(&header_size, file.data(), sizeof(header_size));
  auto header =
      nlohmann::json::parse(file.substr(sizeof(header_size), header_size));
  std::string values = file.substr(sizeof(header_size) + header_size);
  char* const place =
      values.data() + header["head.bias"]["data_offsets"][0].get<size_t>();
  float bias = 0;
  std::memcpy(&bias, place, sizeof(bias));
  bias += 0.01f;
  std::memcpy(place, &bias, sizeof(bias));
  header["__metadata__"].erase("sha256");
  const std::string text = header.dump();
  header_size = text.size();
  return std::string(reinterpret_cast<const char*>(&header_size),
                     sizeof(header_size)) +
         text + values;
}

TEST(StartupTest, AMissingModelIsNamed) {
  EXPECT_THAT(ErrorOf({"--model=/no/such.safetensors"}),
              HasSubstr("/no/such.safetensors: no such file"));
}

TEST(StartupTest, ATruncatedModelIsNamed) {
  const TemporaryFolder folder;
  const std::string whole = ReadFile(ModelPath());
  for (const size_t size : {size_t{0}, size_t{5}, size_t{1000},
                            whole.size() / 2, whole.size() - 1}) {
    const std::string path =
        folder.Write("cut.safetensors", whole.substr(0, size));
    EXPECT_THAT(ErrorOf({"--model=" + path, "--golden=none"}), HasSubstr(path))
        << size;
  }
}

TEST(StartupTest, ADamagedModelIsNotServedEvenIfNoAnswerShowsIt) {
  const TemporaryFolder folder;
  std::string damaged = ReadFile(ModelPath());
  damaged[damaged.size() - 4] ^= 1;  // the last bit of a weight
  const std::string path = folder.Write("damaged.safetensors", damaged);
  EXPECT_THAT(ErrorOf({"--model=" + path, "--golden=none"}),
              AllOf(HasSubstr(path), HasSubstr("the file is damaged")));
}

TEST(StartupTest, AModelWithoutGoldenImagesIsNotServedUnlessAsked) {
  const TemporaryFolder folder;
  const std::string model =
      folder.Write("copy.safetensors", ReadFile(ModelPath()));
  EXPECT_THAT(ErrorOf({"--model=" + model}),
              AllOf(HasSubstr(folder.File("copy.golden.safetensors")),
                    HasSubstr("--golden=none")));
  ServerProcess server({"--model=" + model, "--golden=none"});
  EXPECT_TRUE(server.ready());
}

// The same weights start when nothing checks them: it is the check that
// refuses.
TEST(StartupTest, AModelThatAnswersOtherwiseThanInTrainingIsNotServed) {
  const TemporaryFolder folder;
  const std::string model =
      folder.Write("off.safetensors", WeightsOffByALittle());
  folder.Write("off.golden.safetensors", ReadFile(kGoldenPath));
  // In f32: what int8 rounds away is more than this model is off.
  EXPECT_THAT(ErrorOf({"--model=" + model, "--precision=f32"}),
              AllOf(HasSubstr("golden image 0, logit 0: found"),
                    HasSubstr("expected")));
  ServerProcess server({"--model=" + model, "--golden=none"});
  EXPECT_TRUE(server.ready());
}

TEST(StartupTest, APortInUseIsNamed) {
  ServerProcess first;
  ASSERT_TRUE(first.ready());
  EXPECT_THAT(ErrorOf({"--address=" + first.grpc_address()}),
              HasSubstr("cannot listen for gRPC on " + first.grpc_address()));
  EXPECT_THAT(ErrorOf({"--http_address=" + first.http_address()}),
              HasSubstr("cannot listen for HTTP on " + first.http_address()));
  v1::ClassifyResponse response;
  EXPECT_TRUE(first.Classify(TestSet::Get().image(0), &response).ok());
}

TEST(StartupTest, AValueOutOfItsRangeIsNamedWithTheFlagAndTheRange) {
  EXPECT_THAT(
      ErrorOf({"--max_batch_size=0"}),
      HasSubstr("flag --max_batch_size: expected 1 to 1024, found '0'"));
  EXPECT_THAT(ErrorOf({"--max_batch_size=32", "--max_queue_size=31"}),
              AllOf(HasSubstr("--max_queue_size"),
                    HasSubstr("expected at least 32"), HasSubstr("found 31")));
  EXPECT_THAT(ErrorOf({"--address=nowhere"}),
              AllOf(HasSubstr("--address"), HasSubstr("found 'nowhere'")));
  EXPECT_THAT(ErrorOf({"stray"}), HasSubstr("found 'stray'"));
}

TEST(StartupTest, AVariableThatIsNoNumberIsNamed) {
  EXPECT_THAT(ErrorOf({}, {"VIT_WORKERS=many"}),
              HasSubstr("variable VIT_WORKERS: expected 0 to 1024, found "
                        "'many'"));
}

TEST(StartupTest, AnUnknownFlagIsNamed) {
  ChildProcess server(ServerCommand({"--no_such_flag=1"}));
  EXPECT_NE(server.Wait(), 0);
  EXPECT_THAT(server.output(), HasSubstr("no_such_flag"));
  EXPECT_THAT(server.output(), Not(HasSubstr("ready after")));
}

TEST(StartupTest, CheckConfigLoadsTheModelAndDoesNotServe) {
  ChildProcess valid(ServerCommand({"--check_config"}));
  EXPECT_EQ(valid.Wait(), 0);
  EXPECT_THAT(valid.output(), AllOf(HasSubstr("configuration is valid"),
                                    Not(HasSubstr("listening"))));
  EXPECT_THAT(ErrorOf({"--check_config", "--model=/no/such.safetensors"}),
              HasSubstr("/no/such.safetensors: no such file"));
}

TEST(StartupTest, CheckConfigReadsTheFilesOfWhoMayCall) {
  EXPECT_THAT(ErrorOf({"--check_config", "--tokens=/no/such/tokens"}),
              HasSubstr("/no/such/tokens: expected a file of tokens"));
  EXPECT_THAT(ErrorOf({"--check_config", "--tls_certificate=/no/such.pem",
                       "--tls_key=/no/such-key.pem"}),
              HasSubstr("/no/such"));
}

TEST(StartupTest, HelpAndVersionExitWithZero) {
  ChildProcess help(ServerCommand({"--help"}));
  EXPECT_EQ(help.Wait(), 0);
  EXPECT_THAT(help.output(), HasSubstr("--max_queue_size"));
  ChildProcess version(ServerCommand({"--version"}));
  EXPECT_EQ(version.Wait(), 0);
  EXPECT_THAT(version.output(), HasSubstr("vit-server "));
}

TEST(StartupTest, TheFileThatConfigNamesIsRead) {
  const TemporaryFolder folder;
  const std::string file = folder.Write("vit.yaml", "# one\nworkers: many\n");
  EXPECT_THAT(ErrorOf({"--config=" + file}),
              HasSubstr(file + ":2 key workers: expected 0 to 1024, found "
                               "'many'"));
}

// What a server with this environment and these flags answers to a
// ClassifyBatch without images: it names the size of the queue.
std::string QueueSizeOf(const std::vector<std::string>& flags,
                        const std::vector<std::string>& environment) {
  ServerProcess server(flags, environment);
  if (!server.ready()) return "";
  grpc::ClientContext context;
  testing::SetPatience(&context);
  v1::ClassifyBatchResponse response;
  return server.stub().ClassifyBatch(&context, {}, &response).error_message();
}

TEST(StartupTest, TheEnvironmentSetsAFlagAndTheCommandLineWins) {
  EXPECT_THAT(QueueSizeOf({}, {"VIT_MAX_QUEUE_SIZE=77"}),
              HasSubstr("expected 1 to 77 images"));
  EXPECT_THAT(QueueSizeOf({"--max_queue_size=55"}, {"VIT_MAX_QUEUE_SIZE=77"}),
              HasSubstr("expected 1 to 55 images"));
}

}  // namespace
}  // namespace vit
