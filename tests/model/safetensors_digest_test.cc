// A file that holds its digest refuses damage: every bit of the header, and
// bits of the data.

#include "model/safetensors_digest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <array>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>

#include "model/weights.h"
#include "tests/model/model_builder.h"

namespace vit {
namespace {

using ::testing::AllOf;
using testing::FileOf;
using ::testing::HasSubstr;
using testing::ModelFile;
using Bytes = std::vector<uint8_t>;

constexpr char kShipped[] =
    VIT_SOURCE_DIR "/model/weights/mnist-vit.safetensors";
constexpr size_t kLengthBytes = 8;

std::string Sha256Of(const Bytes& bytes) {
  std::array<uint8_t, 32> digest = {};
  EXPECT_EQ(EVP_Digest(bytes.data(), bytes.size(), digest.data(), nullptr,
                       EVP_sha256(), nullptr),
            1);
  std::string text;
  for (const uint8_t byte : digest) {
    text += "0123456789abcdef"[byte >> 4];
    text += "0123456789abcdef"[byte & 15];
  }
  return text;
}

// Writes the digest over the 64 zeros that a file holds for it.
Bytes Stamped(Bytes file) {
  const std::string zeros(64, '0');
  const auto place =
      std::search(file.begin(), file.end(), zeros.begin(), zeros.end());
  EXPECT_NE(place, file.end());
  const std::string digest = Sha256Of(file);
  std::copy(digest.begin(), digest.end(), place);
  return file;
}

// A small model's file, its header padded with spaces as the format's own
// writer does.
Bytes SmallFile(const std::string& digest) {
  VitConfig config = testing::MnistConfig();
  config.width = 8;
  config.depth = 1;
  config.heads = 2;
  config.mlp_width = 12;
  ModelFile file = testing::Write(testing::RandomModel(config));
  if (!digest.empty()) file.header["__metadata__"]["sha256"] = digest;
  std::string header = file.header.dump();
  header.append(8 - header.size() % 8, ' ');
  return FileOf(header, file.data);
}

Bytes SmallStampedFile() { return Stamped(SmallFile(std::string(64, '0'))); }

Bytes ShippedFile() {
  std::ifstream in(kShipped, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

size_t HeaderEnd(const Bytes& file) {
  uint64_t size = 0;
  std::memcpy(&size, file.data(), kLengthBytes);
  return kLengthBytes + size;
}

absl::StatusOr<VitWeights> Read(const Bytes& file) {
  const auto parsed = SafeTensors::Parse(file);
  if (!parsed.ok()) return parsed.status();
  return VitWeightsFrom(*parsed);
}

// Flips one bit, reads, and flips it back.
absl::Status ReadFlipped(Bytes& file, size_t bit) {
  const auto mask = static_cast<uint8_t>(1u << (bit % 8));
  file[bit / 8] ^= mask;
  absl::Status status = Read(file).status();
  file[bit / 8] ^= mask;
  return status;
}

void ExpectRefused(const absl::Status& status, size_t bit) {
  EXPECT_FALSE(status.ok()) << "bit " << bit % 8 << " of byte " << bit / 8;
  EXPECT_THAT(status.message(), ::testing::Not(::testing::IsEmpty()));
}

TEST(SafeTensorsDigestTest, AFileWithItsDigestIsReadAndIdentifiedByIt) {
  Bytes file = SmallStampedFile();
  const auto weights = Read(file);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(ModelInfoOf(*weights).digest,
            Sha256Of(SmallFile(std::string(64, '0'))));
}

TEST(SafeTensorsDigestTest, AFileWithoutDigestIsIdentifiedByAllItsBytes) {
  const Bytes file = SmallFile("");
  const auto weights = Read(file);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(ModelInfoOf(*weights).digest, Sha256Of(file));
}

TEST(SafeTensorsDigestTest, EveryFlippedBitOfTheHeaderIsRefused) {
  Bytes file = SmallStampedFile();
  const size_t bits = 8 * HeaderEnd(file);
  for (size_t bit = 0; bit < bits; ++bit) {
    ExpectRefused(ReadFlipped(file, bit), bit);
  }
}

TEST(SafeTensorsDigestTest, AThousandFlippedBitsOfTheDataAreRefused) {
  Bytes file = SmallStampedFile();
  std::mt19937 random(1);
  std::uniform_int_distribution<size_t> bits(8 * HeaderEnd(file),
                                             8 * file.size() - 1);
  for (int i = 0; i < 1000; ++i) {
    const size_t bit = bits(random);
    const absl::Status status = ReadFlipped(file, bit);
    ExpectRefused(status, bit);
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(status.message(), HasSubstr("the file is damaged"));
  }
}

// Its digest was written by Python. All bits of the length, and every so many
// of the others, because each costs a SHA-256 of a megabyte.
TEST(SafeTensorsDigestTest, TheShippedModelRefusesFlippedBits) {
  Bytes file = ShippedFile();
  ASSERT_TRUE(Read(file).ok()) << Read(file).status();
  for (size_t bit = 0; bit < 8 * kLengthBytes; ++bit) {
    ExpectRefused(ReadFlipped(file, bit), bit);
  }
  constexpr size_t kHeaderStep = 263;
  for (size_t bit = 8 * kLengthBytes; bit < 8 * HeaderEnd(file);
       bit += kHeaderStep) {
    ExpectRefused(ReadFlipped(file, bit), bit);
  }
  constexpr size_t kDataStep = 199'999;
  for (size_t bit = 8 * HeaderEnd(file); bit < 8 * file.size();
       bit += kDataStep) {
    ExpectRefused(ReadFlipped(file, bit), bit);
  }
}

TEST(SafeTensorsDigestTest, ADigestUnderADamagedKeyIsNamed) {
  Bytes file = SmallStampedFile();
  const std::string key = "\"sha256\"";
  const auto place =
      std::search(file.begin(), file.end(), key.begin(), key.end());
  ASSERT_NE(place, file.end());
  place[6] = '7';
  const absl::Status status = Read(file).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), AllOf(HasSubstr("\"sha257\""),
                                      HasSubstr("no key is \"sha256\"")));
}

TEST(SafeTensorsDigestTest, ADigestThatIsNoneIsRefused) {
  for (const std::string& digest :
       {std::string("12ab"), std::string(64, 'A'), std::string(64, 'g')}) {
    const absl::Status status = Read(SmallFile(digest)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(),
                AllOf(HasSubstr(digest),
                      HasSubstr("expected 64 lower-case hexadecimal digits")));
  }
}

// Which of two equal texts is the digest would be a guess.
TEST(SafeTensorsDigestTest, ADigestThatStandsTwiceIsRefused) {
  const std::string digest(64, 'a');
  const Bytes file = FileOf(R"({"__metadata__":{"note":")" + digest +
                                R"(","sha256":")" + digest + R"("}})",
                            {});
  EXPECT_THAT(SafeTensors::Parse(file).status().message(),
              HasSubstr("stand twice in the header, expected once"));
}

TEST(SafeTensorsDigestTest, ADigestWrittenWithEscapesIsRefused) {
  const Bytes file = FileOf(
      R"({"__metadata__":{"sha256":"\u0061)" + std::string(63, 'a') + "\"}}",
      {});
  EXPECT_THAT(SafeTensors::Parse(file).status().message(),
              HasSubstr("stand nowhere in the header"));
}

TEST(SafeTensorsDigestTest, AnyFileOfTheFormatMayHoldItsDigest) {
  const std::string header =
      R"({"__metadata__":{"sha256":")" + std::string(64, '0') +
      R"("},"images":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})";
  Bytes file = Stamped(FileOf(header, {3, 4}));
  EXPECT_TRUE(SafeTensors::Parse(file).ok())
      << SafeTensors::Parse(file).status();
  file.back() ^= 1;
  EXPECT_EQ(SafeTensors::Parse(file).status().code(),
            absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace vit
