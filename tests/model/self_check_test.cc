#include "model/self_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "model/engine.h"
#include "tests/model/model_builder.h"

namespace vit {
namespace {

using ::testing::HasSubstr;

constexpr char kGolden[] =
    VIT_SOURCE_DIR "/model/weights/mnist-vit.golden.safetensors";

// A random model that takes the trained model's images, and so fails its
// golden set.
std::unique_ptr<Classifier> RandomClassifier(const VitConfig& config) {
  auto model = VitModel::Create(testing::RandomModel(config), {});
  EXPECT_TRUE(model.ok()) << model.status();
  return *(*model)->NewClassifier();
}

TEST(SelfCheckTest, TheGoldenFileLiesBesideTheWeights) {
  EXPECT_EQ(DefaultGoldenPath("/m/vit.safetensors"),
            "/m/vit.golden.safetensors");
  EXPECT_EQ(DefaultGoldenPath("vit"), "vit.golden.safetensors");
}

TEST(SelfCheckTest, AModelThatAnswersOtherwiseFailsWithTheImageAndTheLogit) {
  const auto classifier = RandomClassifier(testing::MnistConfig());
  const auto golden = LoadGoldenSet(kGolden, classifier->info());
  ASSERT_TRUE(golden.ok()) << golden.status();
  const absl::Status status = CheckGolden(*classifier, *golden);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("golden image 0, logit 0"));
}

TEST(SelfCheckTest, AWrongLabelFailsHoweverWideTheTolerance) {
  const auto classifier = RandomClassifier(testing::MnistConfig());
  const auto golden = LoadGoldenSet(kGolden, classifier->info());
  ASSERT_TRUE(golden.ok()) << golden.status();
  const absl::Status status = CheckGolden(*classifier, *golden, 1e9f);
  EXPECT_THAT(status.message(), HasSubstr("found label"));
}

TEST(SelfCheckTest, GoldenImagesOfAnotherShapeAreRejected) {
  VitConfig config = testing::MnistConfig();
  config.image = {.height = 14, .width = 14, .channels = 1};
  const auto classifier = RandomClassifier(config);
  const absl::Status status =
      LoadGoldenSet(kGolden, classifier->info()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("expected [N, 14, 14, 1]"));
}

TEST(SelfCheckTest, GoldenLogitsOfAnotherNumberOfClassesAreRejected) {
  VitConfig config = testing::MnistConfig();
  config.classes = 5;
  const auto classifier = RandomClassifier(config);
  EXPECT_THAT(LoadGoldenSet(kGolden, classifier->info()).status().message(),
              HasSubstr("expected [N, 5]"));
}

// Notes how many images it gets.
class CountingClassifier : public Classifier {
 public:
  const ModelInfo& info() const override { return info_; }
  int max_batch_size() const override { return 32; }
  absl::Status Classify(std::span<const Image> images, std::span<Prediction>,
                        std::span<Attention* const>) override {
    counts.push_back(images.size());
    return absl::OkStatus();
  }

  std::vector<size_t> counts;

 private:
  ModelInfo info_;
};

TEST(SelfCheckTest, WarmingUpTakesNoMoreImagesThanAreComputedAtOnce) {
  CountingClassifier classifier;
  EXPECT_TRUE(WarmUp(classifier, 3).ok());
  EXPECT_EQ(classifier.counts, (std::vector<size_t>{1, 2, 3}));
}

}  // namespace
}  // namespace vit
