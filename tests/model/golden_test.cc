// What PyTorch answered for 64 images of MNIST's test set, and for models of
// other shapes, against the reference and the engine.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "model/engine.h"
#include "model/kernels.h"
#include "model/reference.h"
#include "model/rollout.h"
#include "model/safetensors.h"
#include "model/self_check.h"

namespace vit {
namespace {

constexpr float kTolerance = 1e-4f;
constexpr char kSource[] = VIT_SOURCE_DIR;

struct GoldenCase {
  VitWeights weights;
  GoldenSet golden;

  Image image(int index) const {
    const size_t bytes = weights.config.image.size();
    return {.pixels = std::span(golden.pixels).subspan(index * bytes, bytes)};
  }
  std::span<const float> logits(int index) const {
    const size_t classes = weights.config.classes;
    return std::span(golden.logits).subspan(index * classes, classes);
  }
};

GoldenCase LoadCase(const std::string& model_path) {
  auto weights = LoadVitWeights(model_path);
  EXPECT_TRUE(weights.ok()) << weights.status();
  auto golden =
      LoadGoldenSet(DefaultGoldenPath(model_path), ModelInfoOf(*weights));
  EXPECT_TRUE(golden.ok()) << golden.status();
  return {*std::move(weights), *std::move(golden)};
}

template <typename Logits>
void ExpectGolden(const Logits& found, std::span<const float> expected,
                  int image) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t c = 0; c < expected.size(); ++c) {
    EXPECT_NEAR(found[c], expected[c], kTolerance)
        << "image " << image << ", logit " << c;
  }
  EXPECT_EQ(std::ranges::max_element(found) - found.begin(),
            std::ranges::max_element(expected) - expected.begin());
}

std::unique_ptr<Classifier> MakeClassifier(const VitWeights& weights) {
  auto model = VitModel::Create(weights, {});
  EXPECT_TRUE(model.ok()) << model.status();
  auto classifier = (*model)->NewClassifier();
  EXPECT_TRUE(classifier.ok()) << classifier.status();
  return *std::move(classifier);
}

class GoldenModelTest : public ::testing::TestWithParam<const char*> {
 protected:
  const GoldenCase case_ = LoadCase(std::string(kSource) + GetParam());
};

TEST_P(GoldenModelTest, TheReferenceAnswersAsPyTorch) {
  for (int i = 0; i < case_.golden.images; ++i) {
    ExpectGolden(reference::Forward(case_.weights, case_.image(i)).logits,
                 case_.logits(i), i);
  }
}

TEST_P(GoldenModelTest, TheEngineAnswersAsPyTorch) {
  const auto classifier = MakeClassifier(case_.weights);
  for (int i = 0; i < case_.golden.images; ++i) {
    const Image image = case_.image(i);
    std::vector<Prediction> prediction(1);
    ASSERT_TRUE(classifier->Classify({&image, 1}, prediction).ok());
    ExpectGolden(prediction[0].logits, case_.logits(i), i);
  }
}

// The trained model in a precision below f32.
void ExpectGoldenWithinBound(Precision precision) {
  const GoldenCase c =
      LoadCase(std::string(kSource) + "/model/weights/mnist-vit.safetensors");
  for (const bool only_onednn : {false, true}) {
    auto model = VitModel::Create(
        c.weights, {.precision = precision, .only_onednn = only_onednn});
    ASSERT_TRUE(model.ok()) << model.status();
    const auto classifier = *(*model)->NewClassifier();
    const absl::Status status =
        CheckGolden(*classifier, c.golden, GoldenTolerance(precision));
    EXPECT_TRUE(status.ok()) << status;
  }
}

TEST(GoldenInt8Test, TheTrainedModelAnswersAsPyTorchWithinItsBound) {
  if (!VitModel::SupportsInt8()) {
    GTEST_SKIP() << "this CPU has no exact 8-bit products";
  }
  ExpectGoldenWithinBound(Precision::kInt8);
}

TEST(GoldenBf16Test, TheTrainedModelAnswersAsPyTorchWithinItsBound) {
  if (!VitModel::SupportsBf16()) {
    GTEST_SKIP() << "this CPU has no bfloat16 products";
  }
  ExpectGoldenWithinBound(Precision::kBf16);
}

// On every instruction set that the kernels have for this CPU.
TEST_P(GoldenModelTest, TheEngineAnswersAsPyTorchOnEveryInstructionSet) {
  for (const std::string& target : kernels::TargetNames()) {
    kernels::UseTarget(target);
    const absl::Status status =
        CheckGolden(*MakeClassifier(case_.weights), case_.golden, kTolerance);
    EXPECT_TRUE(status.ok()) << target << ": " << status;
  }
  kernels::UseTarget("");
}

TEST_P(GoldenModelTest, TheSelfCheckPasses) {
  const absl::Status status =
      CheckGolden(*MakeClassifier(case_.weights), case_.golden);
  EXPECT_TRUE(status.ok()) << status;
}

INSTANTIATE_TEST_SUITE_P(
    Models, GoldenModelTest,
    ::testing::Values("/model/weights/mnist-vit.safetensors",
                      "/tests/data/golden/tiny-mean.safetensors",
                      "/tests/data/golden/tiny-colour.safetensors"));

class GoldenAttentionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto file = SafeTensors::Load(std::string(kSource) +
                                  "/tests/data/golden/attention.safetensors");
    ASSERT_TRUE(file.ok()) << file.status();
    attention_ = *file->Values<float>("attention");
    rollout_ = *file->Values<float>("rollout");
  }

  // Image `index`'s part of all images' values.
  std::span<const float> Part(const std::vector<float>& values,
                              int index) const {
    const size_t size = values.size() / case_.golden.images;
    return std::span(values).subspan(index * size, size);
  }

  static void ExpectNear(std::span<const float> found,
                         std::span<const float> expected) {
    EXPECT_THAT(found, ::testing::Pointwise(::testing::FloatNear(kTolerance),
                                            expected));
  }

  const GoldenCase case_ =
      LoadCase(std::string(kSource) + "/model/weights/mnist-vit.safetensors");
  std::vector<float> attention_;
  std::vector<float> rollout_;
};

TEST_F(GoldenAttentionTest, TheReferenceAttendsAsPyTorch) {
  for (int i = 0; i < case_.golden.images; ++i) {
    ExpectNear(
        reference::Forward(case_.weights, case_.image(i)).attention.weights,
        Part(attention_, i));
  }
}

TEST_F(GoldenAttentionTest, TheEngineAttendsAsPyTorchAndRollsOutAsIt) {
  const auto classifier = MakeClassifier(case_.weights);
  for (int i = 0; i < case_.golden.images; ++i) {
    const Image image = case_.image(i);
    std::vector<Prediction> prediction(1);
    Attention attention;
    Attention* wanted = &attention;
    ASSERT_TRUE(
        classifier->Classify({&image, 1}, prediction, {&wanted, 1}).ok());
    ExpectNear(attention.weights, Part(attention_, i));
    ExpectNear(AttentionRollout(attention), Part(rollout_, i));
  }
}

}  // namespace
}  // namespace vit
