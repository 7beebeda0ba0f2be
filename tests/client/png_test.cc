#include "client/png.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <png.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "tests/client/test_files.h"

namespace vit::client {
namespace {

using ::testing::AllOf;
using testing::Bytes;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TempFolder;

// Every grey level once, 32 x 8.
GreyPicture AllLevels() {
  GreyPicture picture{32, 8, Bytes(256)};
  for (int i = 0; i < 256; ++i) picture.pixels[i] = static_cast<uint8_t>(i);
  return picture;
}

// Writes what WritePng has no use for: any of libpng's formats.
std::string WriteAs(const TempFolder& folder, png_uint_32 format, int width,
                    int height, const void* pixels,
                    const void* colours = nullptr, int colour_count = 0) {
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(width);
  image.height = static_cast<png_uint_32>(height);
  image.format = format;
  image.colormap_entries = static_cast<png_uint_32>(colour_count);
  const std::string path = folder.File("written.png");
  EXPECT_NE(
      png_image_write_to_file(&image, path.c_str(), 0, pixels, 0, colours), 0)
      << image.message;
  return path;
}

GreyPicture Read(const std::string& path) {
  const absl::StatusOr<GreyPicture> picture = ReadPng(path);
  EXPECT_TRUE(picture.ok()) << picture.status();
  return picture.value_or(GreyPicture{});
}

TEST(PngTest, AGreyPictureComesBackAsItWasWritten) {
  const TempFolder folder;
  const std::string path = folder.File("grey.png");
  const GreyPicture written = AllLevels();
  ASSERT_TRUE(WritePng(written, path).ok());
  const GreyPicture read = Read(path);
  EXPECT_EQ(read.width, 32);
  EXPECT_EQ(read.height, 8);
  EXPECT_EQ(read.pixels, written.pixels);
}

TEST(PngTest, AColourPictureWithoutColourKeepsItsLevels) {
  const TempFolder folder;
  const std::string path = folder.File("rgb.png");
  RgbPicture written{32, 8, {}};
  for (const uint8_t level : AllLevels().pixels) {
    written.pixels.insert(written.pixels.end(), 3, level);
  }
  ASSERT_TRUE(WritePng(written, path).ok());
  const GreyPicture read = Read(path);
  EXPECT_EQ(read.width, 32);
  EXPECT_EQ(read.pixels, AllLevels().pixels);
}

TEST(PngTest, ColoursAreReadByTheirBrightness) {
  const TempFolder folder;
  const std::string path = folder.File("rgb.png");
  const RgbPicture written{
      5, 1, {0, 0, 255, 255, 0, 0, 0, 255, 0, 255, 255, 0, 255, 255, 255}};
  ASSERT_TRUE(WritePng(written, path).ok());
  const GreyPicture read = Read(path);
  ASSERT_EQ(read.pixels.size(), 5u);
  // Blue is the darkest, then red, green, yellow and white.
  EXPECT_GT(read.pixels[0], 0);
  for (int i = 1; i < 5; ++i) EXPECT_GT(read.pixels[i], read.pixels[i - 1]);
  EXPECT_EQ(read.pixels[4], 255);
}

TEST(PngTest, WritingReplacesAFile) {
  const TempFolder folder;
  const std::string path = folder.Write("there", Bytes(100000, 1));
  ASSERT_TRUE(WritePng(GreyPicture{1, 1, {42}}, path).ok());
  EXPECT_THAT(Read(path).pixels, ElementsAre(42));
  EXPECT_LT(std::filesystem::file_size(path), 1000u);
}

TEST(PngTest, TransparentPixelsAreReadOverWhite) {
  const TempFolder folder;
  // Black that is opaque, half transparent and not there.
  const Bytes pixels = {0, 255, 0, 128, 0, 0};
  const GreyPicture read =
      Read(WriteAs(folder, PNG_FORMAT_GA, 3, 1, pixels.data()));
  ASSERT_EQ(read.pixels.size(), 3u);
  EXPECT_EQ(read.pixels[0], 0);
  EXPECT_GT(read.pixels[1], 64);
  EXPECT_LT(read.pixels[1], 220);
  EXPECT_EQ(read.pixels[2], 255);
}

TEST(PngTest, APaletteIsReadByItsColours) {
  const TempFolder folder;
  const Bytes colours = {255, 255, 255, 0, 0, 0, 80, 80, 80};
  const Bytes pixels = {0, 1, 2, 1};
  const GreyPicture read = Read(WriteAs(folder, PNG_FORMAT_RGB_COLORMAP, 2, 2,
                                        pixels.data(), colours.data(), 3));
  EXPECT_THAT(read.pixels, ElementsAre(255, 0, 80, 0));
}

// Writes 16 bits a pixel without a note of their colour space, as many programs
// do.
std::string Write16Bits(const TempFolder& folder,
                        const std::vector<uint16_t>& levels) {
  const std::string path = folder.File("16.png");
  std::FILE* const file = std::fopen(path.c_str(), "wb");
  png_structp png =
      png_create_write_struct(PNG_LIBPNG_VER_STRING, nullptr, nullptr, nullptr);
  png_infop info = png_create_info_struct(png);
  png_init_io(png, file);
  png_set_IHDR(png, info, static_cast<png_uint_32>(levels.size()), 1, 16,
               PNG_COLOR_TYPE_GRAY, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  png_write_info(png, info);
  Bytes row;
  for (const uint16_t level : levels) {
    row.push_back(static_cast<uint8_t>(level >> 8));
    row.push_back(static_cast<uint8_t>(level & 0xff));
  }
  png_write_row(png, row.data());
  png_write_end(png, info);
  png_destroy_write_struct(&png, &info);
  std::fclose(file);
  return path;
}

TEST(PngTest, SixteenBitsKeepTheirLevels) {
  const TempFolder folder;
  const GreyPicture read =
      Read(Write16Bits(folder, {0, 0x4040, 0x8080, 0xc0c0, 0xffff}));
  ASSERT_EQ(read.pixels.size(), 5u);
  const std::array<int, 5> expected = {0, 0x40, 0x80, 0xc0, 0xff};
  for (int i = 0; i < 5; ++i) EXPECT_NEAR(read.pixels[i], expected[i], 1) << i;
}

// Writes the picture of all levels, its header claiming another size.
std::string WriteWithSize(const TempFolder& folder, uint32_t width,
                          uint32_t height) {
  const std::string path = folder.File("size.png");
  EXPECT_TRUE(WritePng(AllLevels(), path).ok());
  Bytes file = testing::ReadBytes(path);
  // 8 bytes of signature, 4 of the chunk's length, then IHDR, the size, 5
  // other bytes and the checksum from IHDR on.
  constexpr size_t kType = 12, kWidth = 16, kHeight = 20, kChecksum = 29;
  const auto put = [&file](size_t place, uint32_t value) {
    for (int i = 0; i < 4; ++i) {
      file[place + i] = static_cast<uint8_t>(value >> (24 - 8 * i));
    }
  };
  put(kWidth, width);
  put(kHeight, height);
  put(kChecksum,
      static_cast<uint32_t>(crc32(0, file.data() + kType, kChecksum - kType)));
  return folder.Write("size.png", file);
}

TEST(PngTest, APictureOfTooManyPixelsIsRejectedByItsHeader) {
  const TempFolder folder;
  // The right size is read: the helper changes nothing else.
  EXPECT_EQ(Read(WriteWithSize(folder, 32, 8)).pixels, AllLevels().pixels);
  const std::string path = WriteWithSize(folder, 10'000, 10'001);
  const absl::Status status = ReadPng(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()),
            path +
                ": too big: 10000 x 10001 pixels, at most 100000000 are "
                "supported");
}

// The last chunk only says that the file ends: 12 bytes without which all
// pixels and their checksum are still there.
TEST(PngTest, AFileThatEndsBeforeItsPixelsDoIsRejected) {
  const TempFolder folder;
  const std::string whole_path = folder.File("whole.png");
  ASSERT_TRUE(WritePng(AllLevels(), whole_path).ok());
  const Bytes whole = testing::ReadBytes(whole_path);
  for (size_t size = 1; size < whole.size() - 12; ++size) {
    const std::string path =
        folder.Write("prefix.png", std::span(whole).first(size));
    const absl::Status status = ReadPng(path).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument)
        << size << " of " << whole.size();
    EXPECT_THAT(std::string(status.message()), HasSubstr(path + ": "));
  }
}

TEST(PngTest, DamagedPixelsAreRejected) {
  const TempFolder folder;
  const std::string path = folder.File("damaged.png");
  ASSERT_TRUE(WritePng(AllLevels(), path).ok());
  Bytes file = testing::ReadBytes(path);
  const std::string_view idat = "IDAT";
  const auto chunk =
      std::search(file.begin(), file.end(), idat.begin(), idat.end());
  ASSERT_GT(file.end() - chunk, 20);
  chunk[10] ^= 0x10;
  folder.Write("damaged.png", file);
  const absl::Status status = ReadPng(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(path), HasSubstr("damaged PNG")));
}

TEST(PngTest, AnEmptyFileIsRejected) {
  const TempFolder folder;
  const std::string path = folder.Write("empty.png", {});
  const absl::Status status = ReadPng(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()), path + ": empty file");
}

TEST(PngTest, AFileThatIsNoPngIsRejected) {
  const TempFolder folder;
  const std::string path =
      folder.Write("photo.png", Bytes{0xff, 0xd8, 0xff, 0xe0, 0, 0, 0, 0, 0});
  const absl::Status status = ReadPng(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()),
            path + ": not a PNG: its first bytes are not PNG's signature");
}

TEST(PngTest, AFileThatDoesNotExistIsNotFound) {
  const absl::Status status = ReadPng("/no/such/file.png").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such/file.png"));
}

TEST(PngTest, AFolderIsAnErrorThatNamesIt) {
  const TempFolder folder;
  const absl::Status status = ReadPng(folder.path()).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(folder.path()), HasSubstr("irectory")));
}

TEST(PngTest, WritingIntoAFolderThatDoesNotExistIsNotFound) {
  const absl::Status status =
      WritePng(GreyPicture{1, 1, {0}}, "/no/such/folder/a.png");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("/no/such/folder/a.png"));
}

}  // namespace
}  // namespace vit::client
