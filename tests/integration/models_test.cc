#include <gmock/gmock.h>
#include <signal.h>
#include <sys/stat.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/child_process.h"
#include "tests/integration/server_process.h"
#include "tests/integration/temporary_folder.h"
#include "tests/integration/test_set.h"
#include "vit/admin/v1/admin.grpc.pb.h"
#include "vit/v1/models.grpc.pb.h"

// Models that come and go while the server serves.
namespace vit {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using testing::ChildProcess;
using ::testing::HasSubstr;
using testing::ModelPath;
using testing::NewChannel;
using testing::ReadFile;
using testing::ServerCommand;
using testing::ServerProcess;
using testing::SetPatience;
using testing::TemporaryFolder;
using testing::TestSet;

constexpr char kGoldenPath[] =
    VIT_SOURCE_DIR "/model/weights/mnist-vit.golden.safetensors";
constexpr char kName[] = "digits";

// A repository with one model, and a server of it.
class ModelsTest : public ::testing::Test {
 protected:
  void Start(std::vector<std::string> flags = {}) {
    flags.push_back("--model_repository=" + folder_.path());
    server_ = std::make_unique<ServerProcess>(flags);
    ASSERT_TRUE(server_->ready());
    models_ = v1::Models::NewStub(server_->channel());
    const std::string& output = server_->process().output();
    const std::string said = "admin service listening on ";
    const size_t begin = output.find(said) + said.size();
    admin_channel_ =
        NewChannel(output.substr(begin, output.find('\n', begin) - begin));
    admin_ = admin::v1::Admin::NewStub(admin_channel_);
  }

  // Puts a whole version there at once, as a careful operator does.
  void AddVersion(int version) const {
    const fs::path part = folder_.File(std::string(".part"));
    fs::create_directories(part);
    fs::copy_file(ModelPath(), part / "model.safetensors",
                  fs::copy_options::overwrite_existing);
    fs::copy_file(kGoldenPath, part / "model.golden.safetensors",
                  fs::copy_options::overwrite_existing);
    const fs::path target =
        fs::path(folder_.path()) / kName / std::to_string(version);
    fs::create_directories(target.parent_path());
    fs::rename(part, target);
  }

  // Flips a bit in the weights of a version.
  void Damage(int version) const {
    const fs::path file = fs::path(folder_.path()) / kName /
                          std::to_string(version) / "model.safetensors";
    std::string bytes = ReadFile(file);
    bytes[bytes.size() / 2] ^= 1;
    std::ofstream(file, std::ios::binary) << bytes;
  }

  void RemoveVersion(int version) const {
    fs::remove_all(fs::path(folder_.path()) / kName / std::to_string(version));
  }

  admin::v1::ReloadModelsResponse Reload() const {
    grpc::ClientContext context;
    SetPatience(&context);
    admin::v1::ReloadModelsResponse response;
    const grpc::Status status = admin_->ReloadModels(&context, {}, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  grpc::Status Classify(const std::string& model, const std::string& version,
                        v1::ClassifyResponse* response) const {
    grpc::ClientContext context;
    SetPatience(&context);
    v1::ClassifyRequest request;
    request.set_image(TestSet::Get().image(0));
    request.set_model(model);
    request.set_version(version);
    return server_->stub().Classify(&context, request, response);
  }

  // Calls, until told to stop, both models without a version; counts failures.
  void CallUntil(const std::atomic<bool>& stop, std::atomic<int>* calls,
                 std::atomic<int>* failed) const {
    v1::ClassifyResponse response;
    while (!stop) {
      for (const char* model : {"", kName}) {
        const grpc::Status status = Classify(model, "", &response);
        ++*calls;
        if (status.ok() && response.label() == TestSet::Get().label(0)) {
          continue;
        }
        ++*failed;
        ADD_FAILURE() << status.error_message();
      }
    }
  }

  TemporaryFolder folder_;
  std::unique_ptr<ServerProcess> server_;
  std::unique_ptr<v1::Models::Stub> models_;
  std::shared_ptr<grpc::Channel> admin_channel_;
  std::unique_ptr<admin::v1::Admin::Stub> admin_;
};

TEST_F(ModelsTest, RequestsNameAModelAndAVersion) {
  AddVersion(1);
  AddVersion(2);
  Start();
  v1::ClassifyResponse response;
  for (const char* version : {"", "1", "2", "stable", "canary"}) {
    EXPECT_TRUE(Classify(kName, version, &response).ok()) << version;
    EXPECT_EQ(response.label(), TestSet::Get().label(0));
  }
  EXPECT_TRUE(Classify("", "", &response).ok());
  EXPECT_TRUE(Classify("mnist-vit", "", &response).ok());
  const grpc::Status unknown = Classify(kName, "3", &response);
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(unknown.error_message(), AllOf(HasSubstr("1"), HasSubstr("2")));
  EXPECT_EQ(Classify("cats", "", &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(ModelsTest, ListModelsTellsVersionsShapeLabelsAndDigest) {
  AddVersion(7);
  Start();
  grpc::ClientContext context;
  v1::ListModelsResponse list;
  ASSERT_TRUE(models_->ListModels(&context, {}, &list).ok());
  ASSERT_EQ(list.models_size(), 2);
  grpc::ClientContext get_context;
  v1::GetModelRequest request;
  request.set_name(kName);
  v1::Model model;
  ASSERT_TRUE(models_->GetModel(&get_context, request, &model).ok());
  EXPECT_EQ(model.version(), "7");
  EXPECT_EQ(model.state(), v1::Model::SERVING);
  EXPECT_TRUE(model.stable());
  EXPECT_EQ(model.image_height(), 28);
  EXPECT_EQ(model.image_channels(), 1);
  EXPECT_EQ(model.labels_size(), 10);
  EXPECT_EQ(model.sha256().size(), 64);
  EXPECT_NE(model.precision(), "");
  grpc::ClientContext unknown_context;
  request.set_version("8");
  const grpc::Status unknown =
      models_->GetModel(&unknown_context, request, &model);
  EXPECT_EQ(unknown.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(unknown.error_message(), HasSubstr("digits version 7"));
}

TEST_F(ModelsTest, ANewVersionServesOnceItIsReloadedAndTheOldestGoes) {
  AddVersion(1);
  Start({"--versions=1"});
  v1::ClassifyResponse response;
  AddVersion(2);
  EXPECT_EQ(Classify(kName, "2", &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
  const admin::v1::ReloadModelsResponse report = Reload();
  ASSERT_EQ(report.loaded_size(), 1);
  EXPECT_EQ(report.loaded(0).version(), "2");
  ASSERT_EQ(report.retired_size(), 1);
  EXPECT_EQ(report.retired(0).version(), "1");
  EXPECT_TRUE(Classify(kName, "2", &response).ok());
  EXPECT_EQ(Classify(kName, "1", &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(ModelsTest, ASignalReloadsAsWell) {
  AddVersion(1);
  Start();
  AddVersion(2);
  server_->Signal(SIGHUP);
  EXPECT_TRUE(server_->WaitForMetric(
      R"(vit_model_reloads_total{outcome="loaded"})", 1));
  v1::ClassifyResponse response;
  EXPECT_TRUE(Classify(kName, "2", &response).ok());
}

TEST_F(ModelsTest, APollFindsANewVersion) {
  AddVersion(1);
  Start({"--model_poll_seconds=1"});
  AddVersion(2);
  EXPECT_TRUE(server_->WaitForMetric(
      R"(vit_model_reloads_total{outcome="loaded"})", 1));
}

TEST_F(ModelsTest, ADamagedVersionIsRefusedWithItsReasonAndTheOldOneServesOn) {
  AddVersion(1);
  Start();
  AddVersion(2);
  Damage(2);
  const admin::v1::ReloadModelsResponse report = Reload();
  ASSERT_EQ(report.refused_size(), 1);
  EXPECT_EQ(report.refused(0).version(), "2");
  EXPECT_THAT(report.refused(0).reason(), HasSubstr("SHA-256"));
  EXPECT_EQ(server_->Metric(R"(vit_model_reloads_total{outcome="refused"})"),
            1);
  v1::ClassifyResponse response;
  EXPECT_TRUE(Classify(kName, "", &response).ok());
  grpc::ClientContext context;
  v1::GetModelRequest request;
  request.set_name(kName);
  request.set_version("2");
  v1::Model model;
  ASSERT_TRUE(models_->GetModel(&context, request, &model).ok());
  EXPECT_EQ(model.state(), v1::Model::REFUSED);
  EXPECT_THAT(model.reason(), HasSubstr("SHA-256"));
}

// VIT_RELOADS=100 is the long form.
TEST_F(ModelsTest, ReloadsAndRefusalsUnderLoadFailNoCallAndTakeNoMemory) {
  const char* wanted = std::getenv("VIT_RELOADS");
  const int reloads = wanted == nullptr ? 8 : std::atoi(wanted);
  AddVersion(1);
  Start({"--versions=1"});
  std::atomic<bool> stop{false};
  std::atomic<int> calls{0};
  std::atomic<int> failed{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 4; ++i) {
    clients.emplace_back([&] { CallUntil(stop, &calls, &failed); });
  }
  double after_first = 0;
  for (int i = 1; i <= reloads; ++i) {
    // A good one that takes the place of the last, then a damaged one.
    AddVersion(2 * i);
    EXPECT_EQ(Reload().loaded_size(), 1) << i;
    AddVersion(2 * i + 1);
    Damage(2 * i + 1);
    EXPECT_EQ(Reload().refused_size(), 1) << i;
    // Also, a server whose output nobody reads would wait in the end.
    EXPECT_THAT(server_->process().WaitForLine("refused"),
                HasSubstr("SHA-256"));
    RemoveVersion(2 * i + 1);
    if (i > 1) RemoveVersion(2 * i - 2);
    if (i == 2) after_first = server_->Metric("process_resident_memory_bytes");
  }
  const double at_end = server_->Metric("process_resident_memory_bytes");
  stop = true;
  for (std::thread& client : clients) client.join();
  EXPECT_EQ(failed, 0);
  EXPECT_GT(calls, reloads);
  // Two loaded versions beside each other differ by more than this leaves.
  constexpr double kSlack = 16 << 20;
  EXPECT_LT(at_end, after_first + kSlack);
  std::printf(
      "%d reloads, %d refused, %d calls, %.1f MiB then, %.1f at the end\n",
      reloads, reloads, calls.load(), after_first / (1 << 20),
      at_end / (1 << 20));
}

TEST_F(ModelsTest, ASignalWhileModelsAreLoadedEndsTheServerAtOnceWithZero) {
  // Nobody writes to it, so whoever reads it waits.
  const std::string pipe = folder_.File("golden.safetensors");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  ChildProcess server(ServerCommand({"--golden=" + pipe}));
  ASSERT_NE(server.WaitForLine("kernels: "), "");
  server.Signal(SIGTERM);
  EXPECT_EQ(server.Wait(), 0) << server.output();
  EXPECT_THAT(server.output(), HasSubstr("before serving"));
}

}  // namespace
}  // namespace vit
