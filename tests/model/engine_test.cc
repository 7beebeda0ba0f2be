#include "model/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <thread>

#include "absl/strings/str_cat.h"
#include "model/reference.h"
#include "tests/model/model_builder.h"

namespace vit {
namespace {

using ::testing::DoubleNear;
using ::testing::HasSubstr;
using testing::MnistConfig;
using ::testing::Not;
using ::testing::Pointwise;
using testing::RandomImages;
using testing::RandomModel;
using testing::Views;

// How far single precision may be from the reference's double precision.
constexpr double kTolerance = 1e-4;

std::unique_ptr<Classifier> MakeClassifier(const VitWeights& weights,
                                           int max_batch_size = 8,
                                           EngineOptions options = {}) {
  options.max_batch_size = max_batch_size;
  auto model = VitModel::Create(weights, options);
  EXPECT_TRUE(model.ok()) << model.status();
  auto classifier = (*model)->NewClassifier();
  EXPECT_TRUE(classifier.ok()) << classifier.status();
  return *std::move(classifier);
}

struct Answers {
  std::vector<Prediction> predictions;
  std::vector<Attention> attention;
};

Answers Classify(Classifier& classifier, std::span<const Image> images) {
  Answers answers;
  answers.predictions.resize(images.size());
  answers.attention.resize(images.size());
  std::vector<Attention*> wanted;
  for (Attention& attention : answers.attention) wanted.push_back(&attention);
  const absl::Status status =
      classifier.Classify(images, answers.predictions, wanted);
  EXPECT_TRUE(status.ok()) << status;
  return answers;
}

// The shapes that one engine must serve: those of the trained family, and
// variants of each option.
std::vector<VitConfig> Shapes() {
  VitConfig small_patches = MnistConfig();  // 50 tokens
  small_patches.patch_size = 4;
  small_patches.depth = 2;
  VitConfig mean = MnistConfig();  // 16 tokens, none a class token
  mean.depth = 2;
  mean.class_token = false;
  mean.pool = Pool::kAverage;
  VitConfig mean_beside_token = mean;
  mean_beside_token.class_token = true;
  VitConfig bare = MnistConfig();
  bare.depth = 2;
  bare.qkv_bias = bare.proj_bias = bare.mlp_bias = false;
  VitConfig odd = MnistConfig();  // nothing a multiple of a register
  odd.depth = 2;
  odd.width = 39;
  odd.heads = 3;
  odd.mlp_width = 101;
  odd.classes = 7;
  return {MnistConfig(), small_patches, mean, mean_beside_token, bare, odd};
}

class EngineShapeTest : public ::testing::TestWithParam<VitConfig> {};

// Whoever computes the linear layers.
TEST_P(EngineShapeTest, AgreesWithTheReferenceInLogitsAndAttention) {
  const VitWeights weights = RandomModel(GetParam());
  const auto images = RandomImages(GetParam().image, 3);
  for (const bool only_onednn : {false, true}) {
    const auto classifier =
        MakeClassifier(weights, 8, {.only_onednn = only_onednn});
    const Answers answers = Classify(*classifier, Views(images));
    for (size_t i = 0; i < images.size(); ++i) {
      const auto expected = reference::Forward(weights, {.pixels = images[i]});
      EXPECT_THAT(answers.predictions[i].logits,
                  Pointwise(DoubleNear(kTolerance), expected.logits));
      EXPECT_THAT(
          answers.attention[i].weights,
          Pointwise(DoubleNear(kTolerance), expected.attention.weights));
    }
  }
}

TEST_P(EngineShapeTest, EveryRowOfAttentionSumsToOneAndNoneIsNegative) {
  const auto classifier = MakeClassifier(RandomModel(GetParam()));
  const Answers answers =
      Classify(*classifier, Views(RandomImages(GetParam().image, 2)));
  for (const Attention& attention : answers.attention) {
    const size_t tokens = attention.tokens;
    for (size_t row = 0; row < attention.weights.size(); row += tokens) {
      const std::span weights(&attention.weights[row], tokens);
      EXPECT_GE(*std::min_element(weights.begin(), weights.end()), 0);
      EXPECT_NEAR(std::accumulate(weights.begin(), weights.end(), 0.0), 1,
                  1e-5);
    }
  }
}

TEST_P(EngineShapeTest, ProbabilitiesAreTheSoftmaxOfTheLogits) {
  const auto classifier = MakeClassifier(RandomModel(GetParam()));
  const Answers answers =
      Classify(*classifier, Views(RandomImages(GetParam().image, 1)));
  const Prediction& prediction = answers.predictions[0];
  double sum = 0;
  for (const float logit : prediction.logits) sum += std::exp(logit);
  for (size_t c = 0; c < prediction.logits.size(); ++c) {
    EXPECT_NEAR(prediction.probabilities[c],
                std::exp(prediction.logits[c]) / sum, 1e-5);
  }
  EXPECT_EQ(prediction.confidence(),
            *std::max_element(prediction.probabilities.begin(),
                              prediction.probabilities.end()));
}

INSTANTIATE_TEST_SUITE_P(Shapes, EngineShapeTest,
                         ::testing::ValuesIn(Shapes()));

// ViT-Ti/16 at 224 x 224 x 3 (197 tokens), two layers of its twelve.
TEST(EngineTest, ComputesAsManyImagesAtOnceAsACachesWorthOfTokens) {
  const auto at_once = [](int max_batch_size) {
    auto model = VitModel::Create(RandomModel(MnistConfig()),
                                  {.max_batch_size = max_batch_size});
    return model.ok() ? (*model)->images_at_once() : 0;
  };
  EXPECT_EQ(at_once(32), 16);
  EXPECT_EQ(at_once(4), 4);
}

TEST(EngineTest, AgreesWithTheReferenceOnTheShapeOfViTTiny) {
  VitConfig config = MnistConfig();
  config.image = {.height = 224, .width = 224, .channels = 3};
  config.patch_size = 16;
  config.width = 192;
  config.depth = 2;
  config.heads = 3;
  config.mlp_width = 768;
  config.classes = 100;
  const VitWeights weights = RandomModel(config);
  const auto classifier = MakeClassifier(weights, /*max_batch_size=*/1);
  const auto images = RandomImages(config.image, 1);
  const Answers answers = Classify(*classifier, Views(images));
  const auto expected = reference::Forward(weights, {.pixels = images[0]});
  for (size_t c = 0; c < expected.logits.size(); ++c) {
    EXPECT_NEAR(answers.predictions[0].logits[c], expected.logits[c],
                kTolerance);
  }
}

// What a matmul adds up in another order for another batch size may differ in
// the last bits.
constexpr float kSameResult = 1e-5f;

// Why a precision cannot be tested here; empty if it can.
std::string Obstacle(Precision precision) {
  if (precision == Precision::kInt8 && !VitModel::SupportsInt8()) {
    return "this CPU has no exact 8-bit products";
  }
  if (precision == Precision::kBf16 && !VitModel::SupportsBf16()) {
    return "this CPU has no bfloat16 products";
  }
  return "";
}

class EnginePrecisionTest : public ::testing::TestWithParam<EngineOptions> {
 protected:
  void SetUp() override {
    const std::string obstacle = Obstacle(GetParam().precision);
    if (!obstacle.empty()) GTEST_SKIP() << obstacle;
  }
};

INSTANTIATE_TEST_SUITE_P(
    Precisions, EnginePrecisionTest,
    ::testing::Values(
        EngineOptions{.precision = Precision::kF32},
        EngineOptions{.precision = Precision::kBf16},
        EngineOptions{.precision = Precision::kInt8},
        EngineOptions{.precision = Precision::kF32, .only_onednn = true},
        EngineOptions{.precision = Precision::kBf16, .only_onednn = true},
        EngineOptions{.precision = Precision::kInt8, .only_onednn = true}),
    [](const auto& test) {
      return absl::StrCat(PrecisionName(test.param.precision),
                          test.param.only_onednn ? "OfOneDnn" : "");
    });

TEST_P(EnginePrecisionTest, AResultIsTheSameAloneAndAtEveryPlaceOfEveryBatch) {
  const auto classifier =
      MakeClassifier(RandomModel(MnistConfig()), 8, GetParam());
  const auto images = RandomImages(MnistConfig().image, 8);
  const std::vector<Image> views = Views(images);
  const Prediction alone =
      Classify(*classifier, std::span(views).first(1)).predictions[0];
  for (size_t size = 1; size <= views.size(); ++size) {
    for (size_t place = 0; place < size; ++place) {
      std::vector<Image> batch(views.begin() + 1, views.begin() + size);
      batch.insert(batch.begin() + place, views[0]);
      const Answers answers = Classify(*classifier, batch);
      for (size_t c = 0; c < alone.logits.size(); ++c) {
        ASSERT_NEAR(answers.predictions[place].logits[c], alone.logits[c],
                    kSameResult)
            << "place " << place << " of " << size;
      }
    }
  }
}

// Larger than what is computed at once, with a part left over.
TEST_P(EnginePrecisionTest, AnImageOfALargeBatchIsAnsweredAsAlone) {
  constexpr int kBatch = 39;
  const auto classifier =
      MakeClassifier(RandomModel(MnistConfig()), kBatch, GetParam());
  const auto images = RandomImages(MnistConfig().image, kBatch);
  const std::vector<Image> views = Views(images);
  const Answers together = Classify(*classifier, views);
  for (size_t i = 0; i < views.size(); ++i) {
    const Answers alone = Classify(*classifier, std::span(views).subspan(i, 1));
    for (size_t c = 0; c < 10; ++c) {
      ASSERT_NEAR(together.predictions[i].logits[c],
                  alone.predictions[0].logits[c], kSameResult)
          << "image " << i;
    }
  }
}

// Without attention to show, the last layer is computed for the class token
// only.
TEST_P(EnginePrecisionTest, AnImageIsAnsweredTheSameWithAndWithoutAttention) {
  const auto classifier =
      MakeClassifier(RandomModel(MnistConfig()), 8, GetParam());
  const auto images = RandomImages(MnistConfig().image, 3);
  const Answers shown = Classify(*classifier, Views(images));
  std::vector<Prediction> plain(3);
  ASSERT_TRUE(classifier->Classify(Views(images), plain).ok());
  for (size_t i = 0; i < images.size(); ++i) {
    for (size_t c = 0; c < 10; ++c) {
      EXPECT_NEAR(plain[i].logits[c], shown.predictions[i].logits[c],
                  kSameResult);
    }
  }
}

TEST_P(EnginePrecisionTest, IsNearTheReferenceInLogitsAndAttention) {
  // What rounding does in every product of every layer: to 24 digits, to 8, or
  // to 256 levels. `relative` is for all logits together. The scores of random
  // models are far apart, so an error in one shows in the attention.
  struct Bounds {
    double relative, attention;
  };
  const Bounds bounds =
      GetParam().precision == Precision::kF32    ? Bounds{1e-5, 1e-4}
      : GetParam().precision == Precision::kBf16 ? Bounds{0.02, 0.05}
                                                 : Bounds{0.07, 0.15};
  for (const VitConfig& config : Shapes()) {
    const VitWeights weights = RandomModel(config);
    const auto classifier = MakeClassifier(weights, 2, GetParam());
    const auto images = RandomImages(config.image, 2);
    const Answers answers = Classify(*classifier, Views(images));
    for (size_t i = 0; i < images.size(); ++i) {
      const auto expected = reference::Forward(weights, {.pixels = images[i]});
      double error = 0, size = 0;
      for (size_t c = 0; c < expected.logits.size(); ++c) {
        const double difference =
            answers.predictions[i].logits[c] - expected.logits[c];
        error += difference * difference;
        size += expected.logits[c] * expected.logits[c];
      }
      EXPECT_LT(std::sqrt(error / size), bounds.relative);
      EXPECT_GT(error, 0);
      for (size_t w = 0; w < expected.attention.weights.size(); ++w) {
        ASSERT_NEAR(answers.attention[i].weights[w],
                    expected.attention.weights[w], bounds.attention);
      }
    }
  }
}

TEST(EngineTest, Bf16IsRefusedWhereTheCpuHasNone) {
  const auto model = VitModel::Create(RandomModel(MnistConfig()),
                                      {.precision = Precision::kBf16});
  EXPECT_EQ(model.ok(), VitModel::SupportsBf16());
  if (!model.ok()) {
    EXPECT_THAT(std::string(model.status().message()),
                HasSubstr("AVX512_BF16 or AMX"));
  }
}

TEST(EngineTest, Int8OfAModelThatIsNotQuantisedIsRefused) {
  VitWeights weights = RandomModel(MnistConfig());
  weights.quantized = false;
  const auto model = VitModel::Create(weights, {.precision = Precision::kInt8});
  EXPECT_EQ(model.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(model.status().message()), HasSubstr("quantize.py"));
}

TEST_P(EnginePrecisionTest, OneImageNeverInfluencesAnother) {
  const auto classifier =
      MakeClassifier(RandomModel(MnistConfig()), 8, GetParam());
  auto images = RandomImages(MnistConfig().image, 8);
  const Answers before = Classify(*classifier, Views(images));
  for (const size_t changed : {0, 3, 7}) {
    auto others = images;
    for (uint8_t& byte : others[changed]) byte = 255 - byte;
    const Answers after = Classify(*classifier, Views(others));
    for (size_t i = 0; i < images.size(); ++i) {
      if (i == changed) {
        EXPECT_NE(after.predictions[i].logits, before.predictions[i].logits);
      } else {
        EXPECT_EQ(after.predictions[i].logits, before.predictions[i].logits);
      }
    }
  }
}

// The image with its first and last patch exchanged.
std::vector<uint8_t> WithPatchesExchanged(const std::vector<uint8_t>& image,
                                          const VitConfig& config) {
  std::vector<uint8_t> exchanged = image;
  const int side = config.patch_size;
  const int width = config.image.width;
  const int last = config.image.height - side;
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      std::swap(exchanged[y * width + x],
                exchanged[(last + y) * width + last + x]);
    }
  }
  return exchanged;
}

TEST(EngineTest, WithoutPositionsThePermutationOfPatchesDoesNotMatter) {
  VitWeights weights = RandomModel(MnistConfig());
  std::ranges::fill(weights.position_embedding, 0.0f);
  const auto classifier = MakeClassifier(weights);
  const auto image = RandomImages(MnistConfig().image, 1)[0];
  const auto exchanged = WithPatchesExchanged(image, MnistConfig());
  const Answers answers =
      Classify(*classifier,
               std::vector<Image>{{.pixels = image}, {.pixels = exchanged}});
  for (size_t c = 0; c < 10; ++c) {
    EXPECT_NEAR(answers.predictions[0].logits[c],
                answers.predictions[1].logits[c], kTolerance);
  }
  // What attended to the first patch attends to the last now.
  const Attention& before = answers.attention[0];
  const Attention& after = answers.attention[1];
  EXPECT_NEAR(before.matrix(0, 0)[1], after.matrix(0, 0)[16], kTolerance);
  EXPECT_NEAR(before.matrix(0, 0)[16], after.matrix(0, 0)[1], kTolerance);
}

TEST(EngineTest, WithPositionsThePermutationOfPatchesMatters) {
  const auto classifier = MakeClassifier(RandomModel(MnistConfig()));
  const auto image = RandomImages(MnistConfig().image, 1)[0];
  const auto exchanged = WithPatchesExchanged(image, MnistConfig());
  const Answers answers =
      Classify(*classifier,
               std::vector<Image>{{.pixels = image}, {.pixels = exchanged}});
  double largest = 0;
  for (size_t c = 0; c < 10; ++c) {
    largest =
        std::max<double>(largest, std::abs(answers.predictions[0].logits[c] -
                                           answers.predictions[1].logits[c]));
  }
  EXPECT_GT(largest, 100 * kTolerance);
}

TEST(EngineTest, AttentionIsWrittenForTheImagesThatAskOnly) {
  const auto classifier = MakeClassifier(RandomModel(MnistConfig()));
  const auto images = RandomImages(MnistConfig().image, 2);
  Attention second;
  std::vector<Attention*> wanted = {nullptr, &second};
  std::vector<Prediction> predictions(2);
  ASSERT_TRUE(classifier->Classify(Views(images), predictions, wanted).ok());
  const Answers all = Classify(*classifier, Views(images));
  EXPECT_EQ(second.weights, all.attention[1].weights);
}

TEST(EngineTest, ClassifiersOfOneModelComputeAtTheSameTime) {
  auto model = VitModel::Create(RandomModel(MnistConfig()), {});
  ASSERT_TRUE(model.ok()) << model.status();
  const auto images = RandomImages(MnistConfig().image, 4);
  const std::vector<Image> views = Views(images);
  std::vector<std::vector<Prediction>> results(3);
  std::vector<std::thread> threads;
  for (std::vector<Prediction>& result : results) {
    threads.emplace_back([&] {
      const auto classifier = (*model)->NewClassifier();
      result.resize(views.size());
      for (int i = 0; i < 50; ++i) {
        ASSERT_TRUE((*classifier)->Classify(views, result).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < views.size(); ++i) {
    EXPECT_EQ(results[0][i].logits, results[1][i].logits);
    EXPECT_EQ(results[0][i].logits, results[2][i].logits);
  }
}

TEST_P(EnginePrecisionTest, NoKernelIsOneDnnsReference) {
  auto model = VitModel::Create(RandomModel(MnistConfig()), GetParam());
  ASSERT_TRUE(model.ok()) << model.status();
  for (const std::string& kernel : (*model)->KernelNames()) {
    EXPECT_THAT(kernel, Not(HasSubstr("ref")));
  }
}

TEST(EngineTest, AnImageOfTheWrongSizeIsNamedByItsIndex) {
  const auto classifier = MakeClassifier(RandomModel(MnistConfig()));
  auto images = RandomImages(MnistConfig().image, 3);
  images[1].pop_back();
  std::vector<Prediction> predictions(3);
  const absl::Status status = classifier->Classify(Views(images), predictions);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(),
              HasSubstr("images[1]: expected 784 bytes, got 783"));
}

TEST(EngineTest, ABatchThatIsTooLargeOrLacksPlacesForAnswersIsRejected) {
  const auto classifier = MakeClassifier(RandomModel(MnistConfig()));
  const auto images = RandomImages(MnistConfig().image, 9);
  std::vector<Prediction> predictions(9);
  EXPECT_THAT(classifier->Classify(Views(images), predictions).message(),
              HasSubstr("expected at most 8 images, got 9"));
  const std::vector<Image> views = Views(images);
  EXPECT_EQ(classifier->Classify(std::span(views).first(4), predictions).code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(EngineTest, AnEmptyBatchIsAnsweredWithNothing) {
  const auto classifier = MakeClassifier(RandomModel(MnistConfig()));
  EXPECT_TRUE(classifier->Classify({}, {}).ok());
}

TEST(EngineTest, ALargestBatchOfNoneIsRejected) {
  EXPECT_EQ(VitModel::Create(RandomModel(MnistConfig()), {.max_batch_size = 0})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace vit
