#include "client/input.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "client/png.h"
#include "tests/client/test_files.h"

namespace vit::client {
namespace {

using ::testing::AllOf;
using testing::Bytes;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TempFolder;

// Three images of 1 x 2 pixels.
Bytes ThreeImages() { return testing::IdxImages(1, 2, {1, 2, 3, 4, 5, 6}); }

TEST(InputTest, AnImageOfAnIdxFileIsTakenAsItIs) {
  const TempFolder folder;
  for (const std::string& path : {folder.Write("plain", ThreeImages()),
                                  folder.WriteGzip("gzipped", ThreeImages())}) {
    const auto third = LoadImage(path, 2);
    ASSERT_TRUE(third.ok()) << third.status();
    EXPECT_EQ(third->width, 2);
    EXPECT_EQ(third->height, 1);
    EXPECT_THAT(third->pixels, ElementsAre(5, 6));
    const auto first = LoadImage(path, std::nullopt);
    ASSERT_TRUE(first.ok()) << first.status();
    EXPECT_THAT(first->pixels, ElementsAre(1, 2));
  }
}

TEST(InputTest, AnIndexThatTheFileDoesNotHaveIsOutOfRange) {
  const TempFolder folder;
  const std::string path = folder.Write("images", ThreeImages());
  for (const int index : {-1, 3}) {
    const absl::Status status = LoadImage(path, index).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
    EXPECT_EQ(std::string(status.message()),
              path + ": no image " + std::to_string(index) +
                  ", the file has 3 images, from 0");
  }
}

TEST(InputTest, APngIsBroughtToMnistForm) {
  const TempFolder folder;
  GreyPicture picture{60, 40, Bytes(60 * 40, 255)};
  for (int y = 5; y < 35; ++y) picture.pixels[y * 60 + 10] = 0;
  const std::string path = folder.File("one.png");
  ASSERT_TRUE(WritePng(picture, path).ok());
  const auto image = LoadImage(path, std::nullopt);
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->width, 28);
  EXPECT_EQ(image->height, 28);
  EXPECT_EQ(std::ranges::count(image->pixels, 255), 20);
}

TEST(InputTest, APngHasNoIndex) {
  const TempFolder folder;
  const std::string path = folder.File("one.png");
  ASSERT_TRUE(WritePng(GreyPicture{1, 2, {0, 255}}, path).ok());
  const absl::Status status = LoadImage(path, 0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(path), HasSubstr("an index is for IDX files")));
}

TEST(InputTest, TheErrorOfABlankPngNamesTheFile) {
  const TempFolder folder;
  const std::string path = folder.File("blank.png");
  ASSERT_TRUE(WritePng(GreyPicture{1, 2, {9, 9}}, path).ok());
  const absl::Status status = LoadImage(path, std::nullopt).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(path), HasSubstr("blank")));
}

TEST(InputTest, OtherFilesAreRejected) {
  const TempFolder folder;
  for (const Bytes& bytes : {Bytes{}, Bytes{'P'}, Bytes{'B', 'M', 0, 0}}) {
    const std::string path = folder.Write("other", bytes);
    const absl::Status status = LoadImage(path, std::nullopt).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(std::string(status.message()),
              path + ": neither a PNG nor an IDX file");
  }
}

TEST(InputTest, AMissingFileAndAFolderAreNamed) {
  const absl::Status missing =
      LoadImage("/no/such/file", std::nullopt).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("/no/such/file"));

  const TempFolder folder;
  const absl::Status status = LoadImage(folder.path(), std::nullopt).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(folder.path()), HasSubstr("irectory")));
}

}  // namespace
}  // namespace vit::client
