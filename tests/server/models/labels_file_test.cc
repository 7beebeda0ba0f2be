#include "server/models/labels_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/integration/temporary_folder.h"

namespace vit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

class LabelsFileTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::vector<std::string>> Read(const std::string& content,
                                                size_t classes) {
    return ReadLabels(folder_.Write("labels.txt", content), classes);
  }
  std::string ErrorOf(const std::string& content, size_t classes) {
    return std::string(Read(content, classes).status().message());
  }

  const TemporaryFolder folder_;
};

TEST_F(LabelsFileTest, ALineIsALabel) {
  EXPECT_THAT(*Read("zero\none two\nBrötchen €\U0001F600\n", 3),
              ElementsAre("zero", "one two", "Brötchen €\U0001F600"));
}

TEST_F(LabelsFileTest, WindowsLineEndsAndNoLineEndAtTheEndAreRead) {
  EXPECT_THAT(*Read("a\r\nb", 2), ElementsAre("a", "b"));
}

TEST_F(LabelsFileTest, AnotherNumberThanThatOfTheClassesIsRefused) {
  EXPECT_THAT(ErrorOf("a\nb\n", 3),
              HasSubstr("labels.txt: found 2 labels, expected 3"));
  EXPECT_THAT(ErrorOf("a\nb\nc\nd\n", 3),
              HasSubstr("found more than 3 labels, expected 3"));
  EXPECT_THAT(ErrorOf("", 1), HasSubstr("found 0 labels, expected 1"));
}

TEST_F(LabelsFileTest, AnEmptyLabelIsNamedByItsLine) {
  EXPECT_THAT(ErrorOf("a\n\nc\n", 3), HasSubstr("labels.txt: line 2 is empty"));
}

TEST_F(LabelsFileTest, WhatIsNotUtf8IsRefused) {
  for (const std::string& bad :
       {std::string("\x80"), std::string("\xc3"), std::string("\xc0\xaf"),
        std::string("\xe0\x80\xaf"), std::string("\xed\xa0\x80"),
        std::string("\xf4\x90\x80\x80"), std::string("\xff"),
        std::string("a\xe2\x82z")}) {
    EXPECT_THAT(ErrorOf(bad + "\n", 1), HasSubstr("line 1 is not UTF-8"));
  }
}

TEST_F(LabelsFileTest, AFileThatCannotBeReadIsNamed) {
  const absl::Status status =
      ReadLabels(folder_.File("missing.txt"), 1).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(status.message(), HasSubstr("missing.txt: cannot be read"));
}

}  // namespace
}  // namespace vit
