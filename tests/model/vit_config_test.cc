#include "model/vit_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "nlohmann/json.hpp"

namespace vit {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

json Good() {
  return {{"image_size", 28},    {"channels", 1},
          {"patch_size", 7},     {"width", 64},
          {"depth", 6},          {"heads", 4},
          {"mlp_width", 256},    {"classes", 10},
          {"class_token", true}, {"pool", "token"},
          {"qkv_bias", true},    {"proj_bias", true},
          {"mlp_bias", true},    {"layer_norm_epsilon", 1e-6}};
}

TEST(VitConfigTest, EveryFieldIsRead) {
  const auto config = ParseVitConfig(Good().dump());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->tokens(), 17);
  EXPECT_EQ(config->head_width(), 16);
  EXPECT_EQ(config->patch_values(), 49);
  EXPECT_EQ(config->pool, Pool::kToken);
  EXPECT_FLOAT_EQ(config->layer_norm_epsilon, 1e-6f);
}

TEST(VitConfigTest, EveryFieldIsRequired) {
  const json good = Good();
  for (const auto& [name, value] : good.items()) {
    json config = Good();
    config.erase(name);
    EXPECT_THAT(ParseVitConfig(config.dump()).status().message(),
                HasSubstr(name));
  }
}

struct BadField {
  const char* name;
  json value;
};

TEST(VitConfigTest, AValueThatNoModelCanHaveIsRejectedByName) {
  const std::vector<BadField> bad = {
      {"image_size", 0},   {"image_size", "28"}, {"image_size", 1 << 30},
      {"channels", 2},     {"patch_size", 5},    {"patch_size", -7},
      {"width", 0},        {"width", 63},        {"depth", 0},
      {"heads", 5},        {"mlp_width", 0},     {"classes", 0},
      {"class_token", 1},  {"pool", "max"},      {"layer_norm_epsilon", 0},
      {"qkv_bias", "yes"}, {"width", 64.5},      {"image_size", nullptr}};
  for (const BadField& field : bad) {
    json config = Good();
    config[field.name] = field.value;
    const absl::Status status = ParseVitConfig(config.dump()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument)
        << field.name << " " << field.value;
    EXPECT_THAT(status.message(), HasSubstr("vit.config"));
  }
}

TEST(VitConfigTest, TheClassTokenCannotBePooledWhereThereIsNone) {
  json config = Good();
  config["class_token"] = false;
  EXPECT_THAT(ParseVitConfig(config.dump()).status().message(),
              HasSubstr("pool"));
}

TEST(VitConfigTest, AnUnknownFieldIsRejectedByName) {
  json config = Good();
  config["windows"] = 4;
  EXPECT_THAT(ParseVitConfig(config.dump()).status().message(),
              HasSubstr("windows"));
}

TEST(VitConfigTest, WhatIsNoJsonIsRejected) {
  for (const char* text : {"", "{", "[]", "7", "{\"a\":\xff}"}) {
    EXPECT_EQ(ParseVitConfig(text).status().code(),
              absl::StatusCode::kInvalidArgument)
        << text;
  }
}

}  // namespace
}  // namespace vit
