#include "server/models/served_model_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/models/model_repository.h"
#include "tests/integration/temporary_folder.h"
#include "tests/server/models/repository_folder.h"

namespace vit {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

constexpr char kGolden[] = VIT_SOURCE_DIR "/tests/data/golden/";

// Real files in a repository of their own.
class ServedModelLoaderTest : public ::testing::Test {
 protected:
  ServedModelLoaderTest() {
    auto repository = ModelRepository::Create(
        {.path = folder_.path()},
        MakeServedModelLoader({.workers = 2, .max_batch_size = 2}));
    EXPECT_TRUE(repository.ok()) << repository.status();
    repository_ = *std::move(repository);
  }

  void PutModel(const std::string& version, const std::string& weights,
                const std::string& golden) {
    folder_.Put(version, testing::ReadFile(kGolden + weights));
    folder_.Write(version + "/model.golden.safetensors",
                  testing::ReadFile(kGolden + golden));
  }

  ReloadReport Reload() {
    absl::StatusOr<ReloadReport> report = repository_->Reload();
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *std::move(report) : ReloadReport();
  }

  const testing::RepositoryFolder folder_;
  std::unique_ptr<ModelRepository> repository_;
};

TEST_F(ServedModelLoaderTest, AModelOnDiskIsLoadedAndServesUnderItsFolder) {
  PutModel("mean/3", "tiny-mean.safetensors", "tiny-mean.golden.safetensors");
  ASSERT_EQ(Reload().loaded.size(), 1);
  const auto model = *repository_->Pick({.name = "mean", .version = "3"}, 0);
  EXPECT_THAT(model->classifiers, SizeIs(2));
  EXPECT_THAT(model->info.digest, SizeIs(64));
  EXPECT_THAT(model->info.labels, SizeIs(10));
  EXPECT_THAT(model->precision,
              AllOf(::testing::Not("int8"), SizeIs(::testing::Ge(3))));
  EXPECT_FALSE(model->notes.empty());
  EXPECT_GT(model->load_duration, Clock::duration::zero());
  const std::vector<uint8_t> blank(model->info.image.size());
  const Image image = {.pixels = blank};
  std::vector<Prediction> prediction(1);
  for (const auto& classifier : model->classifiers) {
    EXPECT_TRUE(classifier->Classify({&image, 1}, prediction).ok());
  }
}

TEST_F(ServedModelLoaderTest, LabelsOnDiskReplaceThoseOfTheWeightsFile) {
  PutModel("colour/1", "tiny-colour.safetensors",
           "tiny-colour.golden.safetensors");
  folder_.Write("colour/1/labels.txt", "a\nb\nc\nd\ne\n");
  Reload();
  EXPECT_EQ((*repository_->Pick({}, 0))->info.labels[4], "e");
  folder_.Write("colour/1/labels.txt", "a\nb\n");
  const ReloadReport report = Reload();
  ASSERT_EQ(report.refused.size(), 1);
  EXPECT_THAT(report.refused[0].reason,
              HasSubstr("labels.txt: found 2 labels, expected 5"));
  EXPECT_EQ((*repository_->Pick({}, 0))->info.labels[4], "e");
}

TEST_F(ServedModelLoaderTest, WeightsThatAnswerOtherwiseAreRefused) {
  PutModel("mean/1", "tiny-mean.safetensors", "tiny-mean.golden.safetensors");
  Reload();
  // The last weights are the head's: off by far, and without a digest.
  std::string weights =
      testing::ReadFile(std::string(kGolden) + "tiny-mean.safetensors");
  for (size_t i = 4; i <= 400; i += 4) {
    weights[weights.size() - i + 3] ^= '\x80';  // the sign
  }
  folder_.Put("mean/2", weights);
  folder_.Write(
      "mean/2/model.golden.safetensors",
      testing::ReadFile(std::string(kGolden) + "tiny-mean.golden.safetensors"));
  const ReloadReport report = Reload();
  ASSERT_EQ(report.refused.size(), 1);
  EXPECT_THAT(report.refused[0].reason, HasSubstr("golden image"));
  EXPECT_EQ((*repository_->Pick({}, 0))->version(), "1");
}

TEST_F(ServedModelLoaderTest, WeightsWithoutGoldenAnswersWaitForThem) {
  folder_.Put("mean/1", testing::ReadFile(std::string(kGolden) +
                                          "tiny-mean.safetensors"));
  const ReloadReport without = Reload();
  ASSERT_EQ(without.refused.size(), 1);
  EXPECT_THAT(without.refused[0].reason,
              HasSubstr("model.golden.safetensors: no such file"));
  folder_.Write(
      "mean/1/model.golden.safetensors",
      testing::ReadFile(std::string(kGolden) + "tiny-mean.golden.safetensors"));
  EXPECT_EQ(Reload().loaded.size(), 1);
}

TEST_F(ServedModelLoaderTest, AFileThatIsCutShortIsRefused) {
  const std::string whole =
      testing::ReadFile(std::string(kGolden) + "tiny-mean.safetensors");
  folder_.Put("mean/1", whole.substr(0, whole.size() / 2));
  const ReloadReport report = Reload();
  ASSERT_EQ(report.refused.size(), 1);
  EXPECT_THAT(report.refused[0].reason,
              HasSubstr(folder_.At("mean/1/model.safetensors")));
}

}  // namespace
}  // namespace vit
