#include "client/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/attention_picture.h"
#include "client/picture.h"
#include "tests/client/explanation.h"

namespace vit::client {
namespace {

using ::testing::DoubleEq;
using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::SmallExplanation;

TEST(CheckExplanationTest, AnAnswerThatFitsTogetherPasses) {
  EXPECT_TRUE(CheckExplanation(SmallExplanation()).ok());
  v1::ExplainResponse without_class = SmallExplanation();
  without_class.set_has_class_token(false);
  without_class.set_grid_height(1);
  without_class.set_grid_width(5);
  EXPECT_TRUE(CheckExplanation(without_class).ok());
}

struct BadExplanation {
  const char* name;
  std::function<void(v1::ExplainResponse&)> spoil;
  const char* message;
};

class BadExplanationTest : public ::testing::TestWithParam<BadExplanation> {};

TEST_P(BadExplanationTest, IsRejectedWithWhatDoesNotFit) {
  v1::ExplainResponse response = SmallExplanation();
  GetParam().spoil(response);
  const absl::Status status = CheckExplanation(response);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Answers, BadExplanationTest,
    ::testing::Values(
        BadExplanation{"Empty", [](auto& r) { r.Clear(); },
                       "0 tokens for 0 x 0 patches of 0 pixels, no class"},
        BadExplanation{"TokensOfAnotherGrid",
                       [](auto& r) { r.set_grid_width(3); },
                       "5 tokens for 2 x 3 patches of 2 pixels, a class token"},
        BadExplanation{"MissingClassToken",
                       [](auto& r) { r.set_has_class_token(false); },
                       "5 tokens for 2 x 2 patches of 2 pixels, no class"},
        // Their product is the right number.
        BadExplanation{"NegativeGrid",
                       [](auto& r) {
                         r.set_grid_height(-2);
                         r.set_grid_width(-2);
                       },
                       "-2 x -2 patches"},
        BadExplanation{"NoPatchSize", [](auto& r) { r.set_patch_size(0); },
                       "patches of 0 pixels"},
        BadExplanation{"ShortRollout",
                       [](auto& r) {
                         r.mutable_rollout()->mutable_weights()->RemoveLast();
                       },
                       "the rollout has 24 weights, expected 25 for 5 tokens"},
        BadExplanation{"LongHead",
                       [](auto& r) {
                         r.mutable_layers(1)->mutable_heads(2)->add_weights(0);
                       },
                       "layer 1, head 2 has 26 weights, expected 25"}),
    [](const auto& test) { return test.param.name; });

TEST(SelectAttentionTest, OneHeadOfOneLayerIsTaken) {
  const v1::ExplainResponse response = SmallExplanation();
  // Head h of layer l: token i attends to token i + 3 l + h alone.
  const auto attention = SelectAttention(response, {.layer = 1, .head = 2});
  ASSERT_TRUE(attention.ok()) << attention.status();
  EXPECT_EQ(attention->tokens, 5);
  EXPECT_THAT(attention->row(0), ElementsAre(1, 0, 0, 0, 0));
  EXPECT_THAT(attention->row(3), ElementsAre(0, 0, 0, 1, 0));
  EXPECT_THAT(SelectAttention(response, {.layer = 0, .head = 1})->row(3),
              ElementsAre(0, 0, 0, 0, 1));
}

TEST(SelectAttentionTest, ALayerIsTheMeanOfItsHeads) {
  const auto attention = SelectAttention(SmallExplanation(), {.layer = 0});
  ASSERT_TRUE(attention.ok()) << attention.status();
  const double third = 1.0 / 3;
  EXPECT_THAT(attention->row(0),
              ElementsAre(DoubleEq(third), DoubleEq(third), DoubleEq(third),
                          DoubleEq(0), DoubleEq(0)));
}

TEST(SelectAttentionTest, WithoutALayerItIsTheRollout) {
  const auto attention = SelectAttention(SmallExplanation(), {});
  ASSERT_TRUE(attention.ok()) << attention.status();
  EXPECT_THAT(attention->row(0), ElementsAre(0.5, 0, 0.25, 0.125, 0.125));
}

TEST(SelectAttentionTest, ALayerOrHeadThatThereIsNotIsOutOfRange) {
  const auto select = [](int layer, int head) {
    return SelectAttention(SmallExplanation(), {layer, head}).status();
  };
  EXPECT_EQ(select(2, 0),
            absl::OutOfRangeError("layer 2: the model has 2 layers, from 0"));
  EXPECT_EQ(select(-2, -1),
            absl::OutOfRangeError("layer -2: the model has 2 layers, from 0"));
  EXPECT_EQ(select(1, 3),
            absl::OutOfRangeError("head 3: the layer has 3 heads, from 0"));
  EXPECT_EQ(select(1, -2),
            absl::OutOfRangeError("head -2: the layer has 3 heads, from 0"));
}

TEST(SelectAttentionTest, AHeadNeedsALayer) {
  EXPECT_EQ(SelectAttention(SmallExplanation(), {.head = 0}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(TokenNameTest, NamesTheClassTokenAndThePixelsOfPatches) {
  v1::ExplainResponse response;
  response.set_has_class_token(true);
  response.set_grid_height(7);
  response.set_grid_width(5);
  response.set_patch_size(4);
  EXPECT_EQ(TokenName(response, 0), "[CLS]");
  EXPECT_EQ(TokenName(response, 1), "(0, 0) pixels 0-3, 0-3");
  EXPECT_EQ(TokenName(response, 1 + 2 * 5 + 3), "(2, 3) pixels 8-11, 12-15");
  response.set_has_class_token(false);
  EXPECT_EQ(TokenName(response, 2 * 5 + 3), "(2, 3) pixels 8-11, 12-15");
}

TEST(ParseTokensTest, ReadsNamesAndIndices) {
  const v1::ExplainResponse response = SmallExplanation();
  EXPECT_THAT(*ParseTokens(response, "cls"), ElementsAre(0));
  EXPECT_THAT(*ParseTokens(response, "all"), ElementsAre(0, 1, 2, 3, 4));
  EXPECT_THAT(*ParseTokens(response, "4"), ElementsAre(4));
}

TEST(ParseTokensTest, RejectsWhatIsNoToken) {
  v1::ExplainResponse response = SmallExplanation();
  for (const char* text : {"5", "-1"}) {
    const absl::Status status = ParseTokens(response, text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << text;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("there are 5 tokens, from 0"));
  }
  for (const char* text : {"", "CLS", "1.5", "1 2"}) {
    const absl::Status status = ParseTokens(response, text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("expected cls, all or an index"));
  }
  response.set_has_class_token(false);
  EXPECT_EQ(ParseTokens(response, "cls").status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(AttentionTableTest, TheLargestWeightsComeFirstAndTheOthersAreSummed) {
  const v1::ExplainResponse response = SmallExplanation();
  const AttentionTokens attention = *SelectAttention(response, {});
  EXPECT_EQ(
      AttentionTable(response, attention, std::vector{0, 3}, 2),
      // clang-format off
      "Token                        | Attending to                 | Weight %\n"
      "-----------------------------|------------------------------|---------\n"
      "[CLS]                        | [CLS]                        |    50.00\n"
      "[CLS]                        | (0, 1) pixels 0-1, 2-3       |    25.00\n"
      "[CLS]                        | 3 others                     |    25.00\n"
      "(1, 0) pixels 2-3, 0-1       | (1, 0) pixels 2-3, 0-1       |    50.00\n"
      "(1, 0) pixels 2-3, 0-1       | [CLS]                        |    25.00\n"
      "(1, 0) pixels 2-3, 0-1       | 3 others                     |    25.00\n"
      // clang-format on
  );
}

TEST(AttentionTableTest, WithoutALimitEveryTokenHasALine) {
  const v1::ExplainResponse response = SmallExplanation();
  const AttentionTokens attention = *SelectAttention(response, {});
  for (const int top : {0, 5, 100}) {
    const std::string table =
        AttentionTable(response, attention, std::vector{0}, top);
    EXPECT_EQ(std::ranges::count(table, '\n'), 2 + 5) << top;
    EXPECT_EQ(table.find("others"), std::string::npos) << top;
  }
}

TEST(PatchWeightsTest, TheClassTokensOwnWeightIsLeftOut) {
  const v1::ExplainResponse response = SmallExplanation();
  const AttentionTokens attention = *SelectAttention(response, {});
  EXPECT_THAT(PatchWeights(response, attention),
              ElementsAre(0, 0.5, 0.25, 0.25));
}

TEST(PatchWeightsTest, AClassTokenThatAttendsToItselfAloneGivesZeros) {
  const v1::ExplainResponse response = SmallExplanation();
  const AttentionTokens attention =
      *SelectAttention(response, {.layer = 0, .head = 0});
  EXPECT_THAT(PatchWeights(response, attention), ElementsAre(0, 0, 0, 0));
}

TEST(PatchWeightsTest, WithoutAClassTokenItIsTheMeanOfAllTokens) {
  v1::ExplainResponse response;
  response.set_grid_height(1);
  response.set_grid_width(2);
  const AttentionTokens attention{2, {0.75, 0.25, 0.5, 0.5}};
  EXPECT_THAT(PatchWeights(response, attention),
              ElementsAre(DoubleNear(0.625, 1e-12), DoubleNear(0.375, 1e-12)));
}

int Brightness(const RgbPicture& picture, int x, int y) {
  const auto pixel = picture.pixels.begin() + 3 * (y * picture.width + x);
  return std::accumulate(pixel, pixel + 3, 0);
}

GreyPicture Square(int side, uint8_t level) {
  return {side, side, std::vector<uint8_t>(side * side, level)};
}

TEST(AttentionOverlayTest, TheMostAttendedPatchIsTheBrightest) {
  for (int brightest = 0; brightest < 6; ++brightest) {
    std::vector<double> weights(6, 0.1);
    weights[brightest] = 0.5;
    const RgbPicture picture = AttentionOverlay(
        {6, 4, std::vector<uint8_t>(24, 80)},
        {.grid_height = 2, .grid_width = 3, .weights = weights},
        /*scale=*/5);
    EXPECT_EQ(picture.width, 30);
    EXPECT_EQ(picture.height, 20);
    ASSERT_EQ(picture.pixels.size(), 30u * 20 * 3);
    // Patches are squares of 10.
    for (int patch = 0; patch < 6; ++patch) {
      if (patch == brightest) continue;
      EXPECT_LT(Brightness(picture, 5 + 10 * (patch % 3), 5 + 10 * (patch / 3)),
                Brightness(picture, 5 + 10 * (brightest % 3),
                           5 + 10 * (brightest / 3)))
          << patch << " against " << brightest;
    }
  }
}

TEST(AttentionOverlayTest, MoreAttentionIsBrighterThroughout) {
  std::vector<double> weights(20);
  std::iota(weights.begin(), weights.end(), 0);
  const RgbPicture picture = AttentionOverlay(
      {20, 1, std::vector<uint8_t>(20)},
      {.grid_height = 1, .grid_width = 20, .weights = weights}, 1);
  for (int x = 1; x < 20; ++x) {
    EXPECT_GT(Brightness(picture, x, 0), Brightness(picture, x - 1, 0)) << x;
  }
}

TEST(AttentionOverlayTest, OnlyTheProportionsOfTheWeightsMatter) {
  const std::vector<double> small = {0.125, 0.25, 0, 0.5};
  std::vector<double> large = small;
  for (double& weight : large) weight *= 64;
  const auto overlay = [](const std::vector<double>& weights) {
    return AttentionOverlay(Square(4, 9), {2, 2, weights}, 2).pixels;
  };
  EXPECT_EQ(overlay(small), overlay(large));
}

TEST(AttentionOverlayTest, TheImageShowsThroughTheHeat) {
  GreyPicture image = Square(2, 0);
  image.pixels[3] = 255;
  const std::vector<double> none = {0};
  const RgbPicture picture = AttentionOverlay(image, {1, 1, none}, 3);
  EXPECT_EQ(Brightness(picture, 0, 0), Brightness(picture, 5, 0));
  EXPECT_GT(Brightness(picture, 3, 3), Brightness(picture, 2, 3) + 200);
}

TEST(AttentionGridTest, HasATileForEachLayerAndHead) {
  const v1::ExplainResponse response = SmallExplanation();
  const GreyPicture image = Square(4, 0);
  const RgbPicture picture = AttentionGrid(image, response);
  // 3 heads across and 2 layers down, tiles of 16 and gaps of 4 around them.
  EXPECT_EQ(picture.width, 3 * 20 + 4);
  EXPECT_EQ(picture.height, 2 * 20 + 4);
  ASSERT_EQ(picture.pixels.size(), 64u * 44 * 3);
  for (int layer = 0; layer < 2; ++layer) {
    for (int head = 0; head < 3; ++head) {
      const AttentionTokens attention =
          *SelectAttention(response, {layer, head});
      const std::vector<double> weights = PatchWeights(response, attention);
      const RgbPicture tile = AttentionOverlay(image, {2, 2, weights}, 4);
      for (int y = 0; y < 16; ++y) {
        for (int x = 0; x < 16; ++x) {
          ASSERT_EQ(Brightness(picture, 4 + 20 * head + x, 4 + 20 * layer + y),
                    Brightness(tile, x, y))
              << layer << ' ' << head << ' ' << x << ' ' << y;
        }
      }
    }
  }
  EXPECT_EQ(Brightness(picture, 0, 0), Brightness(picture, 63, 43));
  EXPECT_EQ(Brightness(picture, 0, 0), Brightness(picture, 21, 21));
}

TEST(AttentionAsciiTest, ShowsTheImageAndTheHeatSideBySide) {
  GreyPicture image = Square(4, 0);
  std::fill(image.pixels.begin() + 8, image.pixels.end(), 255);
  const std::vector<double> weights = {0, 0, 0, 0.5};
  EXPECT_EQ(AttentionAscii(image, {2, 2, weights}),
            "     |\n"
            "@@@@ |  :#@\n");
}

}  // namespace
}  // namespace vit::client
