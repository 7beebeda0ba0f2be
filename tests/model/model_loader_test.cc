#include "model/model_loader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <span>

#include "model/self_check.h"
#include "tests/model/model_builder.h"

namespace vit {
namespace {

using ::testing::HasSubstr;

constexpr char kModel[] = VIT_SOURCE_DIR "/model/weights/mnist-vit.safetensors";
// Has no calibration for int8.
constexpr char kFloatOnly[] =
    VIT_SOURCE_DIR "/tests/data/golden/tiny-mean.safetensors";

std::string Notes(const LoadedModel& loaded) {
  std::string all;
  for (const std::string& note : loaded.notes) all += note + "\n";
  return all;
}

// What `auto` takes where int8 is out of the question.
Precision WithoutInt8() {
  return VitModel::SupportsBf16() ? Precision::kBf16 : Precision::kF32;
}

TEST(ModelLoaderTest, PrecisionsAreReadByName) {
  EXPECT_EQ(*ParsePrecision("auto"), std::nullopt);
  EXPECT_EQ(*ParsePrecision("f32"), Precision::kF32);
  EXPECT_EQ(*ParsePrecision("bf16"), Precision::kBf16);
  EXPECT_EQ(*ParsePrecision("int8"), Precision::kInt8);
  EXPECT_EQ(ParsePrecision("fp64").status().message(),
            "expected auto, f32, bf16 or int8, found 'fp64'");
}

TEST(ModelLoaderTest, AutoTakesInt8WhereTheCpuHasItAndSaysWhy) {
  const auto loaded = LoadModel({.model = kModel, .max_batch_size = 2}, 1);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  if (VitModel::SupportsInt8()) {
    EXPECT_EQ(loaded->precision, Precision::kInt8);
    EXPECT_THAT(Notes(*loaded), HasSubstr("precision int8: the fastest"));
  } else {
    EXPECT_EQ(loaded->precision, WithoutInt8());
    EXPECT_THAT(Notes(*loaded), HasSubstr("this CPU has no exact 8-bit"));
  }
}

TEST(ModelLoaderTest, AutoTakesTheNextForAModelThatIsNotQuantisedAndSaysWhy) {
  const auto loaded = LoadModel({.model = kFloatOnly, .max_batch_size = 2}, 1);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->precision, WithoutInt8());
  EXPECT_THAT(Notes(*loaded), HasSubstr("has no vit.quantization"));
  if (!VitModel::SupportsBf16()) {
    EXPECT_THAT(Notes(*loaded), HasSubstr("has no bfloat16 products"));
  }
}

TEST(ModelLoaderTest, AutoTakesTheNextWhereInt8IsTooFarFromTheGoldenAnswers) {
  // Activations that are clipped at a tenth of what they are.
  VitWeights weights = *LoadVitWeights(kModel);
  testing::ModelFile file = testing::Write(weights);
  const std::string path = ::testing::TempDir() + "model_loader_clipped";
  nlohmann::json quantization;
  for (size_t n = 0; n < weights.blocks.size(); ++n) {
    for (const char* name : {"attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"}) {
      quantization["blocks." + std::to_string(n) + "." + name] = {
          {"scale", 0.002}, {"zero_point", 128}};
    }
  }
  file.header["__metadata__"]["vit.quantization"] = quantization.dump();
  const std::vector<uint8_t> bytes = file.Bytes();
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  const auto loaded = LoadModel(
      {.model = path, .golden = DefaultGoldenPath(kModel), .max_batch_size = 2},
      1);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->precision, WithoutInt8());
  if (VitModel::SupportsInt8()) {
    EXPECT_THAT(Notes(*loaded), HasSubstr("not int8 (golden image"));
  }
}

TEST(ModelLoaderTest, APrecisionThatWasAskedForIsTakenOrRefused) {
  const auto exact = LoadModel(
      {.model = kModel, .max_batch_size = 2, .precision = Precision::kF32}, 1);
  ASSERT_TRUE(exact.ok()) << exact.status();
  EXPECT_EQ(exact->precision, Precision::kF32);
  EXPECT_EQ(LoadModel({.model = kFloatOnly, .precision = Precision::kInt8}, 1)
                .status()
                .code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST(ModelLoaderTest, EveryWorkerHasAClassifier) {
  const auto loaded = LoadModel({.model = kFloatOnly, .max_batch_size = 3}, 4);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_EQ(loaded->classifiers.size(), 4);
  const std::vector<uint8_t> blank(loaded->model->info().image.size());
  const Image image = {.pixels = blank};
  std::vector<Prediction> predictions(5);
  for (size_t i = 0; i < 4; ++i) {
    Classifier& classifier = *loaded->classifiers[i];
    EXPECT_EQ(classifier.max_batch_size(), 3);
    ASSERT_TRUE(
        classifier.Classify({&image, 1}, std::span(&predictions[i], 1)).ok());
    EXPECT_EQ(predictions[i].logits, predictions[0].logits);
  }
}

TEST(ModelLoaderTest, AModelWithoutGoldenImagesIsRefusedUnlessToldOtherwise) {
  const std::string missing = ::testing::TempDir() + "no-such-file";
  const auto refused = LoadModel({.model = kFloatOnly, .golden = missing}, 1);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("--golden=none skips the check"));
  const auto loaded = LoadModel({.model = kFloatOnly, .golden = "none"}, 1);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_THAT(Notes(*loaded), HasSubstr("golden images: not checked"));
}

}  // namespace
}  // namespace vit
