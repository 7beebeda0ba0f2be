#include "client/idx.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "tests/client/test_files.h"

namespace vit::client {
namespace {

using ::testing::AllOf;
using testing::Bytes;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::IdxFile;
using testing::MnistFile;
using testing::TempFolder;

// Two images of 2 x 3 pixels.
const Bytes& TwoImages() {
  static const auto& file = *new Bytes(testing::IdxImages(
      2, 3, {10, 11, 12, 13, 14, 15, 20, 21, 22, 23, 24, 25}));
  return file;
}

void ExpectTwoImages(const std::string& path) {
  const absl::StatusOr<IdxImages> images = ReadIdxImages(path);
  ASSERT_TRUE(images.ok()) << images.status();
  EXPECT_EQ(images->count, 2);
  EXPECT_EQ(images->rows, 2);
  EXPECT_EQ(images->columns, 3);
  EXPECT_THAT(images->image(0), ElementsAre(10, 11, 12, 13, 14, 15));
  EXPECT_THAT(images->image(1), ElementsAre(20, 21, 22, 23, 24, 25));
}

TEST(IdxTest, PlainImagesAreRead) {
  const TempFolder folder;
  ExpectTwoImages(folder.Write("images", TwoImages()));
}

TEST(IdxTest, GzippedImagesAreReadWhateverTheirName) {
  const TempFolder folder;
  ExpectTwoImages(folder.WriteGzip("images", TwoImages()));
}

TEST(IdxTest, PlainAndGzippedLabelsAreRead) {
  const TempFolder folder;
  const Bytes file = testing::IdxLabels({7, 0, 255});
  for (const std::string& path :
       {folder.Write("plain", file), folder.WriteGzip("gzipped", file)}) {
    const auto labels = ReadIdxLabels(path);
    ASSERT_TRUE(labels.ok()) << labels.status();
    EXPECT_THAT(*labels, ElementsAre(7, 0, 255));
  }
}

TEST(IdxTest, TheMnistTestSetIsRead) {
  const auto images = ReadIdxImages(MnistFile("t10k-images-idx3-ubyte.gz"));
  ASSERT_TRUE(images.ok()) << images.status();
  EXPECT_EQ(images->count, 10000);
  EXPECT_EQ(images->rows, 28);
  EXPECT_EQ(images->columns, 28);
  EXPECT_EQ(images->pixels.size(), size_t{10000} * 28 * 28);
  EXPECT_EQ(*std::ranges::max_element(images->pixels), 255);

  const auto labels = ReadIdxLabels(MnistFile("t10k-labels-idx1-ubyte.gz"));
  ASSERT_TRUE(labels.ok()) << labels.status();
  ASSERT_EQ(labels->size(), 10000u);
  EXPECT_THAT(std::vector(labels->begin(), labels->begin() + 5),
              ElementsAre(7, 2, 1, 0, 4));
  EXPECT_LE(*std::ranges::max_element(*labels), 9);
}

TEST(IdxTest, AFileOfNoImagesIsEmpty) {
  const TempFolder folder;
  const auto images = ReadIdxImages(
      folder.Write("none", IdxFile(std::vector<uint32_t>{0, 28, 28}, {})));
  ASSERT_TRUE(images.ok()) << images.status();
  EXPECT_EQ(images->count, 0);
  EXPECT_TRUE(images->pixels.empty());
}

TEST(IdxTest, EveryPrefixOfAPlainFileIsRejected) {
  const TempFolder folder;
  for (size_t size = 0; size < TwoImages().size(); ++size) {
    const std::string path =
        folder.Write("prefix", std::span(TwoImages()).first(size));
    const absl::Status status = ReadIdxImages(path).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << size;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(path), HasSubstr("truncated")))
        << size;
  }
}

// Where the end of the compressed data is cut off, all elements may be there
// while their checksum is not.
TEST(IdxTest, EveryPrefixOfAGzippedFileIsRejected) {
  const TempFolder folder;
  const Bytes whole = testing::ReadBytes(folder.WriteGzip("gz", TwoImages()));
  for (size_t size = 0; size < whole.size(); ++size) {
    const std::string path =
        folder.Write("prefix", std::span(whole).first(size));
    const absl::Status status = ReadIdxImages(path).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument)
        << size << " of " << whole.size();
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
  }
}

TEST(IdxTest, DamagedGzipDataIsRejected) {
  const TempFolder folder;
  Bytes file = testing::ReadBytes(folder.WriteGzip("gz", TwoImages()));
  // The checksum is in the last 8 bytes.
  file[file.size() - 8] ^= 0xff;
  const std::string path = folder.Write("damaged", file);
  const absl::Status status = ReadIdxImages(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(path), HasSubstr("damaged gzip data")));
}

TEST(IdxTest, AClaimOfMuchDataTakesNoMoreMemoryThanThereIs) {
  const TempFolder folder;
  // A gigabyte, by the header.
  const std::string path = folder.Write(
      "claim", IdxFile(std::vector<uint32_t>{1024, 1024, 1024}, Bytes(5)));
  rusage before{};
  ASSERT_EQ(getrusage(RUSAGE_SELF, &before), 0);
  const absl::Status status = ReadIdxImages(path).status();
  rusage after{};
  ASSERT_EQ(getrusage(RUSAGE_SELF, &after), 0);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("5 bytes of data, its header says 1073741824"));
  constexpr long kLimitKilobytes = 128 * 1024;
  EXPECT_LT(after.ru_maxrss - before.ru_maxrss, kLimitKilobytes);
}

TEST(IdxTest, AFileThatDoesNotExistIsNotFound) {
  for (const absl::Status& status : {ReadIdxImages("/no/such/file").status(),
                                     ReadIdxLabels("/no/such/file").status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
    EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such/file"));
  }
}

TEST(IdxTest, AFolderIsAnErrorThatNamesIt) {
  const TempFolder folder;
  const absl::Status status = ReadIdxLabels(folder.path()).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(folder.path()), HasSubstr("irectory")));
}

struct BadFile {
  const char* name;
  Bytes bytes;
  const char* message;
};

class BadIdxImagesTest : public ::testing::TestWithParam<BadFile> {};

TEST_P(BadIdxImagesTest, AreRejectedWithTheFileAndTheReason) {
  const TempFolder folder;
  const std::string path = folder.Write("bad", GetParam().bytes);
  const absl::Status status = ReadIdxImages(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()), path + ": " + GetParam().message);
}

Bytes Changed(Bytes file, size_t place, uint8_t value) {
  file[place] = value;
  return file;
}

Bytes Longer(Bytes file) {
  file.push_back(0);
  return file;
}

INSTANTIATE_TEST_SUITE_P(
    Files, BadIdxImagesTest,
    ::testing::Values(
        BadFile{"Empty", {}, "truncated: 0 bytes, an IDX file has at least 4"},
        BadFile{"WrongMagic", Changed(TwoImages(), 1, 0x50),
                "not an IDX file: it starts with 00 50, expected 00 00"},
        BadFile{"AnotherElementType", Changed(TwoImages(), 2, 0x0d),
                "element type 0d, expected 08 (unsigned byte)"},
        BadFile{"LabelsForImages", testing::IdxLabels({1, 2, 3}),
                "1 dimension(s), expected 3 (images)"},
        BadFile{"HeaderThatEndsEarly",
                {0, 0, 8, 3, 0, 0},
                "truncated in its header"},
        BadFile{"TruncatedData",
                IdxFile(std::vector<uint32_t>{2, 2, 3}, Bytes(11)),
                "truncated: 11 bytes of data, its header says 12"},
        BadFile{"TrailingByte", Longer(TwoImages()),
                "goes on after the 12 bytes of data that its header says"},
        BadFile{"AbsurdDimension",
                IdxFile(std::vector<uint32_t>{0xffffffff, 28, 28}, {}),
                "dimension 0 is 4294967295, at most 1073741824 is supported"},
        // Their product, in 64 bits, is 0.
        BadFile{
            "ProductThatOverflows",
            IdxFile(std::vector<uint32_t>{1u << 30, 1u << 30, 1u << 30}, {}),
            "more than 1073741824 bytes of data"},
        BadFile{"ImagesWithoutPixels",
                IdxFile(std::vector<uint32_t>{3, 28, 0}, {}),
                "images of 28 x 0 pixels"}),
    [](const auto& test) { return test.param.name; });

TEST(IdxTest, ImagesForLabelsAreRejected) {
  const TempFolder folder;
  const std::string path = folder.Write("images", TwoImages());
  const absl::Status status = ReadIdxLabels(path).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(status.message()),
            path + ": 3 dimension(s), expected 1 (labels)");
}

}  // namespace
}  // namespace vit::client
