#include "model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/model/model_builder.h"

namespace vit {
namespace {

using ::testing::ElementsAre;
using testing::FileOf;
using ::testing::HasSubstr;

std::vector<uint8_t> Zeros(size_t count) { return std::vector<uint8_t>(count); }

// One tensor of two floats.
constexpr char kGood[] =
    R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";

TEST(SafeTensorsTest, ValuesShapesAndMetadataAreRead) {
  const std::vector<uint8_t> data = {0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0, 7, 9};
  const auto file = SafeTensors::Parse(
      FileOf(R"({"__metadata__":{"k":"v"},)"
             R"("f":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},)"
             R"("u":{"dtype":"U8","shape":[2],"data_offsets":[8,10]}})",
             data));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(*file->Values<float>("f"), ElementsAre(1.0f, -2.0f));
  EXPECT_THAT(*file->Values<uint8_t>("u"), ElementsAre(7, 9));
  EXPECT_THAT(file->tensors().at("f").shape, ElementsAre(1, 2));
  EXPECT_EQ(file->metadata().at("k"), "v");
}

TEST(SafeTensorsTest, SpacesBehindTheHeaderAreAllowed) {
  EXPECT_TRUE(
      SafeTensors::Parse(FileOf(std::string(kGood) + "   ", Zeros(8))).ok());
}

TEST(SafeTensorsTest, ATensorThatIsNotThereIsNamed) {
  const auto file = SafeTensors::Parse(FileOf(kGood, Zeros(8)));
  ASSERT_TRUE(file.ok());
  const absl::Status status = file->Values<float>("b").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("\"b\""));
}

TEST(SafeTensorsTest, AnotherDtypeThanAskedForIsNamed) {
  const auto file = SafeTensors::Parse(FileOf(kGood, Zeros(8)));
  ASSERT_TRUE(file.ok());
  EXPECT_THAT(file->Values<uint8_t>("a").status().message(),
              HasSubstr("tensor \"a\": dtype is F32, expected U8"));
}

TEST(SafeTensorsTest, AFileThatDoesNotExistIsNotFound) {
  const absl::Status status = SafeTensors::Load("/no/such/file").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(status.message(), HasSubstr("/no/such/file"));
}

TEST(SafeTensorsTest, EveryPrefixOfAFileIsRejected) {
  const std::vector<uint8_t> file = FileOf(kGood, Zeros(8));
  for (size_t size = 0; size < file.size(); ++size) {
    EXPECT_EQ(SafeTensors::Parse(std::span(file).first(size)).status().code(),
              absl::StatusCode::kInvalidArgument)
        << size;
  }
}

TEST(SafeTensorsTest, AHeaderLongerThanAllowedIsRejectedBeforeItIsRead) {
  std::vector<uint8_t> file = FileOf(kGood, Zeros(8));
  for (int i = 0; i < 8; ++i) file[i] = 0xff;
  EXPECT_THAT(SafeTensors::Parse(file).status().message(),
              HasSubstr("expected at most 100000000"));
}

struct BadHeader {
  const char* name;
  const char* json;
  size_t data_bytes;
  const char* message;
};

class BadHeaderTest : public ::testing::TestWithParam<BadHeader> {};

TEST_P(BadHeaderTest, IsRejectedWithTheReason) {
  const BadHeader& bad = GetParam();
  const absl::Status status =
      SafeTensors::Parse(FileOf(bad.json, Zeros(bad.data_bytes))).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr(bad.message));
}

INSTANTIATE_TEST_SUITE_P(
    Headers, BadHeaderTest,
    ::testing::Values(
        BadHeader{"NotJson", "{nonsense}", 0, "header"},
        BadHeader{"NotAnObject", "[1, 2]", 0, "does not start with '{'"},
        BadHeader{"NotUtf8", "{\"\xff\":1}", 0, "header"},
        BadHeader{"DuplicateTensor",
                  R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                  R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                  2, "\"a\""},
        BadHeader{"DuplicateMetadata", R"({"__metadata__":{"k":"1","k":"2"}})",
                  0, "\"k\""},
        BadHeader{"MetadataThatIsNoString", R"({"__metadata__":{"k":1}})", 0,
                  "__metadata__"},
        BadHeader{"TensorThatIsNoObject", R"({"a":1})", 0, "\"a\""},
        BadHeader{"UnknownDtype",
                  R"({"a":{"dtype":"F7","shape":[1],"data_offsets":[0,1]}})", 1,
                  "tensor \"a\": dtype \"F7\" is unknown"},
        BadHeader{"MissingDtype", R"({"a":{"shape":[1],"data_offsets":[0,1]}})",
                  1, "\"a\""},
        BadHeader{"MissingShape",
                  R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1, "\"a\""},
        BadHeader{"MissingOffsets", R"({"a":{"dtype":"U8","shape":[1]}})", 1,
                  "\"a\""},
        BadHeader{"NegativeExtent",
                  R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})",
                  1, "\"a\""},
        BadHeader{"FractionalExtent",
                  R"({"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}})",
                  1, "\"a\""},
        BadHeader{"ShapeThatOverflows",
                  R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,4],)"
                  R"("data_offsets":[0,0]}})",
                  0, "tensor \"a\": shape"},
        BadHeader{"ShapeLargerThanItsBytes",
                  R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,8]}})",
                  8, "tensor \"a\": data_offsets are 0 to 8, expected 12"},
        BadHeader{"OffsetsBackwards",
                  R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", 1,
                  "\"a\""},
        BadHeader{"OffsetsBehindTheEnd",
                  R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", 1,
                  "take 2 bytes, but the file holds 1"},
        BadHeader{"Hole",
                  R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                  R"("b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
                  3, "tensor \"b\": its bytes start at 2, expected 1"},
        BadHeader{"Overlap",
                  R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},)"
                  R"("b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
                  3, "tensor \"b\": its bytes start at 1, expected 2"},
        BadHeader{"BytesBehindTheLastTensor", kGood, 9,
                  "take 8 bytes, but the file holds 9"}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace vit
