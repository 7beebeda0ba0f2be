#include "server/models/repository_scan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/server/models/repository_folder.h"

namespace vit {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class RepositoryScanTest : public ::testing::Test {
 protected:
  RepositoryScan Scan() {
    absl::StatusOr<RepositoryScan> scan = ScanRepository(folder_.path());
    EXPECT_TRUE(scan.ok()) << scan.status();
    return scan.ok() ? *std::move(scan) : RepositoryScan();
  }
  // "NAME/VERSION" of each complete version.
  std::vector<std::string> Found() {
    std::vector<std::string> found;
    for (const ModelOnDisk& model : Scan().models) {
      found.push_back(model.name + "/" + std::to_string(model.version));
    }
    return found;
  }
  std::string Fingerprint() { return Scan().models.at(0).fingerprint; }

  const testing::RepositoryFolder folder_;
};

TEST_F(RepositoryScanTest, VersionsAreFoundByNameAndNumber) {
  folder_.Put("digits/2", "");
  folder_.Put("digits/10", "");
  folder_.Put("clothes/1", "");
  EXPECT_THAT(Found(), ElementsAre("clothes/1", "digits/2", "digits/10"));
  EXPECT_THAT(Scan().names, ElementsAre("clothes", "digits"));
  EXPECT_THAT(Scan().skipped, IsEmpty());
}

TEST_F(RepositoryScanTest, TheFilesOfAVersionAreNamed) {
  folder_.Put("digits/1", "");
  folder_.Write("digits/1/labels.txt", "");
  const ModelOnDisk model = Scan().models.at(0);
  EXPECT_EQ(model.weights, folder_.At("digits/1/model.safetensors"));
  EXPECT_EQ(model.golden, folder_.At("digits/1/model.golden.safetensors"));
  EXPECT_EQ(model.labels, folder_.At("digits/1/labels.txt"));
  folder_.Remove("digits/1/labels.txt");
  EXPECT_EQ(Scan().models.at(0).labels, "");
}

TEST_F(RepositoryScanTest, AnEmptyRepositoryHasNoModels) {
  EXPECT_THAT(Found(), IsEmpty());
}

TEST_F(RepositoryScanTest, AVersionWithoutWeightsIsSkippedAndReported) {
  folder_.Put("digits/1", "");
  folder_.MakeFolder("digits/2");
  folder_.MakeFolder("digits/3/model.safetensors");
  EXPECT_THAT(Found(), ElementsAre("digits/1"));
  EXPECT_THAT(Scan().skipped,
              ElementsAre(AllOf(HasSubstr(folder_.At("digits/2")),
                                HasSubstr("no file model.safetensors")),
                          HasSubstr(folder_.At("digits/3"))));
}

TEST_F(RepositoryScanTest, AModelWithoutACompleteVersionIsThereAllTheSame) {
  folder_.MakeFolder("digits/1");
  EXPECT_THAT(Scan().names, ElementsAre("digits"));
  EXPECT_THAT(Found(), IsEmpty());
}

TEST_F(RepositoryScanTest, FoldersThatAreNoVersionsAreSkippedAndReported) {
  for (const char* version :
       {"0", "01", "-1", "+1", "1a", "v1", "9223372036854775808"}) {
    folder_.Put(std::string("digits/") + version, "");
  }
  folder_.Put("digits/9223372036854775807", "");
  EXPECT_THAT(Found(), ElementsAre("digits/9223372036854775807"));
  EXPECT_EQ(Scan().skipped.size(), 7);
  EXPECT_THAT(Scan().skipped[0], HasSubstr("expected a whole number from 1"));
}

TEST_F(RepositoryScanTest, FoldersThatCannotBeNamesAreSkippedAndReported) {
  for (const char* name : {"two words", "a..b", "line\nend", "\xff"}) {
    folder_.Put(std::string(name) + "/1", "");
  }
  EXPECT_THAT(Found(), IsEmpty());
  const std::vector<std::string> skipped = Scan().skipped;
  ASSERT_EQ(skipped.size(), 4);
  // Safe in a log of lines.
  EXPECT_THAT(skipped[1], HasSubstr("line\\nend"));
}

TEST_F(RepositoryScanTest, HiddenNamesAndPlainFilesAreLeftAlone) {
  folder_.Put("digits/1", "");
  folder_.Put(".digits/1", "");
  folder_.Put("digits/.2", "");
  folder_.Write("README.md", "");
  folder_.Write("digits/README.md", "");
  EXPECT_THAT(Found(), ElementsAre("digits/1"));
  EXPECT_THAT(Scan().skipped, IsEmpty());
}

// As Kubernetes mounts a ConfigMap: names are links into a folder that ..data
// points to, and an update switches ..data.
TEST_F(RepositoryScanTest, LinksAreFollowedAndASwitchOfThemIsSeen) {
  folder_.Put("..first/digits/1", "weights");
  folder_.Put("..second/digits/1", "weights");
  std::filesystem::create_directory_symlink("..first", folder_.At("..data"));
  std::filesystem::create_directory_symlink("..data/digits",
                                            folder_.At("digits"));
  EXPECT_THAT(Found(), ElementsAre("digits/1"));
  const std::string before = Fingerprint();
  std::filesystem::remove(folder_.At("..data"));
  std::filesystem::create_directory_symlink("..second", folder_.At("..data"));
  EXPECT_THAT(Found(), ElementsAre("digits/1"));
  EXPECT_NE(Fingerprint(), before);
}

TEST_F(RepositoryScanTest, ALinkToNothingIsNoModel) {
  folder_.MakeFolder("digits/1");
  std::filesystem::create_symlink("nowhere",
                                  folder_.At("digits/1/model.safetensors"));
  std::filesystem::create_symlink("nowhere", folder_.At("clothes"));
  EXPECT_THAT(Found(), IsEmpty());
}

TEST_F(RepositoryScanTest, TheFingerprintChangesWithEachOfTheFiles) {
  folder_.Put("digits/1", "weights");
  const std::string first = Fingerprint();
  EXPECT_EQ(Fingerprint(), first);
  folder_.Put("digits/1", "weights");
  const std::string second = Fingerprint();
  EXPECT_NE(second, first);
  folder_.Write("digits/1/model.golden.safetensors", "");
  const std::string third = Fingerprint();
  EXPECT_NE(third, second);
  folder_.Write("digits/1/labels.txt", "");
  EXPECT_NE(Fingerprint(), third);
}

TEST_F(RepositoryScanTest, APathThatIsNoFolderIsNamedWithWhatIsExpected) {
  const absl::Status missing = ScanRepository(folder_.At("missing")).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(missing.message(),
              AllOf(HasSubstr(folder_.At("missing")),
                    HasSubstr("NAME/VERSION/model.safetensors")));
  folder_.Write("file", "");
  const absl::Status file = ScanRepository(folder_.At("file")).status();
  EXPECT_EQ(file.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(file.message(), HasSubstr("is not a folder"));
}

// A loop of links cannot be read by anyone, root included.
TEST_F(RepositoryScanTest, WhatCannotBeReadIsAnErrorAndNotAMissingModel) {
  folder_.Put("digits/1", "");
  std::filesystem::create_symlink("loop", folder_.At("loop"));
  const absl::Status status = ScanRepository(folder_.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr(folder_.At("loop")));
}

TEST_F(RepositoryScanTest, AModelFileIsFoundWithItsGoldenAnswers) {
  folder_.Write("vit.safetensors", "weights");
  const std::string path = folder_.At("vit.safetensors");
  const std::string golden = folder_.At("vit.golden.safetensors");
  const auto model = FindModelFile(path, golden);
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->name, "");
  EXPECT_EQ(model->weights, path);
  EXPECT_EQ(model->golden, golden);
  folder_.Write("vit.golden.safetensors", "");
  EXPECT_NE(FindModelFile(path, golden)->fingerprint, model->fingerprint);
}

TEST_F(RepositoryScanTest, AMissingModelFileIsNamed) {
  const absl::Status missing =
      FindModelFile(folder_.At("vit.safetensors"), "").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(missing.message(), HasSubstr("/vit.safetensors: no such file"));
  EXPECT_EQ(FindModelFile(folder_.path(), "").status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ModelNameTest, NamesAreLettersDigitsAndFewSigns) {
  for (const char* name : {"a", "mnist-vit", "ViT_Ti.16", "1", "-"}) {
    EXPECT_TRUE(IsModelName(name)) << name;
  }
  for (const char* name : {"", ".", "..", ".a", "a..b", "a/b", "a b", "ä"}) {
    EXPECT_FALSE(IsModelName(name)) << name;
  }
}

}  // namespace
}  // namespace vit
