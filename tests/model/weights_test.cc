#include "model/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "tests/model/model_builder.h"

namespace vit {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using testing::ModelFile;

VitConfig SmallConfig() {
  VitConfig config = testing::MnistConfig();
  config.width = 8;
  config.depth = 2;
  config.heads = 2;
  config.mlp_width = 12;
  return config;
}

absl::StatusOr<VitWeights> Read(const ModelFile& file) {
  auto parsed = SafeTensors::Parse(file.Bytes());
  if (!parsed.ok()) return parsed.status();
  return VitWeightsFrom(*parsed);
}

TEST(WeightsTest, WhatWasWrittenIsRead) {
  const VitWeights written = testing::RandomModel(SmallConfig());
  const auto read = Read(testing::Write(written));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->config, written.config);
  EXPECT_EQ(read->labels, written.labels);
  EXPECT_EQ(read->normalization.mean, written.normalization.mean);
  EXPECT_EQ(read->class_token, written.class_token);
  EXPECT_EQ(read->blocks[1].qkv.weight, written.blocks[1].qkv.weight);
  EXPECT_EQ(read->head.bias, written.head.bias);
}

TEST(WeightsTest, StepsForAttentionInBytesAreOptional) {
  ModelFile file = testing::Write(testing::RandomModel(SmallConfig()));
  json quantization;
  const auto read = [&] {
    file.header["__metadata__"]["vit.quantization"] = quantization.dump();
    return Read(file);
  };
  const auto add = [&](const std::string& name, int zero_point) {
    for (const char* block : {"blocks.0.", "blocks.1."}) {
      quantization[block + name] = {{"scale", 0.5}, {"zero_point", zero_point}};
    }
  };
  for (const char* name : {"attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"}) {
    add(name, 7);
  }
  ASSERT_TRUE(read().ok()) << read().status();
  EXPECT_TRUE(read()->quantized);
  EXPECT_FALSE(read()->blocks[1].quantization.attention);

  add("attn.query", 128);
  add("attn.key", 128);
  EXPECT_THAT(std::string(read().status().message()),
              HasSubstr("blocks.0.attn.value"));
  add("attn.value", 128);
  ASSERT_TRUE(read().ok()) << read().status();
  EXPECT_EQ(read()->blocks[1].quantization.attention->value, 0.5f);

  add("attn.key", 100);
  EXPECT_THAT(std::string(read().status().message()),
              HasSubstr("\"blocks.0.attn.key\": expected the zero point 128, "
                        "found 100"));
}

TEST(WeightsTest, MeanPoolingHasItsLastNormUnderTimmsOtherName) {
  VitConfig config = SmallConfig();
  config.class_token = false;
  config.pool = Pool::kAverage;
  const ModelFile file = testing::Write(testing::RandomModel(config));
  EXPECT_TRUE(file.header.contains("fc_norm.weight"));
  EXPECT_FALSE(file.header.contains("norm.weight"));
  EXPECT_FALSE(file.header.contains("cls_token"));
  const auto read = Read(file);
  EXPECT_TRUE(read.ok()) << read.status();
}

TEST(WeightsTest, TheInfoSaysWhatServersMustKnow) {
  const ModelInfo info = ModelInfoOf(testing::RandomModel(SmallConfig()));
  EXPECT_EQ(info.image.size(), 784);
  EXPECT_EQ(info.tokens, 17);
  EXPECT_TRUE(info.has_class_token);
  EXPECT_EQ(info.layers, 2);
  EXPECT_EQ(info.labels.size(), 10);
}

struct Spoilt {
  const char* name;
  std::function<void(ModelFile&)> spoil;
  std::vector<std::string> message;
};

// Exchanges one string inside the JSON that a metadata entry holds.
void Exchange(ModelFile& file, const char* key, const std::string& from,
              const std::string& to) {
  auto text = file.header["__metadata__"][key].get<std::string>();
  const size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << text;
  text.replace(at, from.size(), to);
  file.header["__metadata__"][key] = text;
}

// Overwrites one value of a tensor.
void Poke(ModelFile& file, const char* tensor, size_t index, float value) {
  const size_t begin = file.header[tensor]["data_offsets"][0];
  std::memcpy(&file.data[begin + index * sizeof(float)], &value, sizeof(value));
}

class SpoiltModelTest : public ::testing::TestWithParam<Spoilt> {};

TEST_P(SpoiltModelTest, IsRejectedWithWhatWasFoundAndWhatWasExpected) {
  ModelFile file = testing::Write(testing::RandomModel(SmallConfig()));
  GetParam().spoil(file);
  const absl::Status status = Read(file).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  for (const std::string& part : GetParam().message) {
    EXPECT_THAT(status.message(), HasSubstr(part));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Files, SpoiltModelTest,
    ::testing::Values(
        Spoilt{"MissingTensor",
               [](ModelFile& f) {
                 f.header["else"] = f.header["blocks.1.attn.proj.bias"];
                 f.header.erase("blocks.1.attn.proj.bias");
               },
               {"blocks.1.attn.proj.bias", "missing", "[8]"}},
        Spoilt{"UnknownTensor",
               [](ModelFile& f) {
                 f.header["surprise"] = {
                     {"dtype", "F32"},
                     {"shape", {0}},
                     {"data_offsets", {f.data.size(), f.data.size()}}};
               },
               {"surprise", "unknown"}},
        Spoilt{"WrongDtype",
               [](ModelFile& f) { f.header["pos_embed"]["dtype"] = "I32"; },
               {"pos_embed", "dtype is I32, expected F32"}},
        Spoilt{"WrongShape",
               [](ModelFile& f) {
                 f.header["blocks.0.attn.qkv.weight"]["shape"] = {8, 24};
               },
               {"blocks.0.attn.qkv.weight", "[8, 24]", "[24, 8]"}},
        Spoilt{"NotANumber",
               [](ModelFile& f) {
                 Poke(f, "blocks.0.norm1.weight", 3, std::nanf(""));
               },
               {"blocks.0.norm1.weight", "value 3", "nan"}},
        Spoilt{"Infinite",
               [](ModelFile& f) {
                 Poke(f, "head.bias", 0,
                      -std::numeric_limits<float>::infinity());
               },
               {"head.bias", "-inf"}},
        Spoilt{"NoMetadata",
               [](ModelFile& f) { f.header.erase("__metadata__"); },
               {"vit."}},
        Spoilt{
            "NoConfig",
            [](ModelFile& f) { f.header["__metadata__"].erase("vit.config"); },
            {"vit.config"}},
        Spoilt{"ConfigOfAnotherWidth",
               [](ModelFile& f) {
                 Exchange(f, "vit.config", "\"width\":8", "\"width\":16");
               },
               {"patch_embed.proj.weight", "[8, 1, 7, 7]", "[16, 1, 7, 7]"}},
        Spoilt{"StandardDeviationOfZero",
               [](ModelFile& f) {
                 f.header["__metadata__"]["vit.normalization"] =
                     R"({"mean":[0.1],"std":[0]})";
               },
               {"vit.normalization", "std"}},
        Spoilt{"NormalizationOfAnotherNumberOfChannels",
               [](ModelFile& f) {
                 f.header["__metadata__"]["vit.normalization"] =
                     R"({"mean":[0.1,0.1],"std":[1,1]})";
               },
               {"vit.normalization"}},
        Spoilt{"TooFewLabels",
               [](ModelFile& f) {
                 f.header["__metadata__"]["vit.labels"] = R"(["0","1"])";
               },
               {"vit.labels", "2", "10"}}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace vit
