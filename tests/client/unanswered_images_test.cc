#include "client/unanswered_images.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "absl/time/time.h"

namespace vit::client {
namespace {

using ::testing::ElementsAre;

constexpr absl::Time kStart = absl::UnixEpoch();

std::vector<uint64_t> Ids(const std::vector<UnansweredImages::Image>& images) {
  std::vector<uint64_t> ids;
  for (const auto& image : images) ids.push_back(image.id);
  return ids;
}

class UnansweredImagesTest : public ::testing::Test {
 protected:
  void Add(uint64_t id, int deadline_seconds = 10) {
    const std::vector<uint8_t> image(1, static_cast<uint8_t>(id));
    images_.Add(id, image, kStart + absl::Seconds(deadline_seconds));
  }
  // Takes an image; its ticket.
  uint64_t Take() {
    EXPECT_TRUE(images_.Take(kStart, request_));
    return request_.id();
  }

  UnansweredImages images_;
  v1::ClassifyStreamRequest request_;
};

TEST_F(UnansweredImagesTest, ImagesAreTakenInTheirOrder) {
  for (const uint64_t id : {9, 4, 9}) Add(id);
  std::string bytes;
  while (images_.Take(kStart, request_)) bytes += request_.image();
  EXPECT_EQ(bytes, "\x9\x4\x9");
  EXPECT_FALSE(images_.HasWaiting());
  EXPECT_FALSE(images_.empty());
}

TEST_F(UnansweredImagesTest, AnAnswerFindsItsImageOnce) {
  Add(7);
  Add(7);
  const uint64_t first = Take();
  const uint64_t second = Take();
  EXPECT_NE(first, second);
  EXPECT_EQ(images_.Remove(second)->id, 7);
  EXPECT_FALSE(images_.Remove(second).has_value());
  EXPECT_EQ(images_.Remove(first)->id, 7);
  EXPECT_TRUE(images_.empty());
}

TEST_F(UnansweredImagesTest, AfterTheLossOfTheServerTheOldestIsTakenFirst) {
  for (const uint64_t id : {1, 2, 3}) Add(id);
  const uint64_t first = Take();
  const uint64_t second = Take();
  images_.Remove(first);
  EXPECT_TRUE(images_.SendAgain(2).empty());
  EXPECT_EQ(Take(), second);
  EXPECT_EQ(request_.image(), "\x2");
  Take();
  EXPECT_EQ(request_.image(), "\x3");
}

TEST_F(UnansweredImagesTest, ImagesThatWereSentOftenEnoughAreLost) {
  Add(1);
  Take();
  EXPECT_TRUE(images_.SendAgain(2).empty());
  Take();
  Add(2);
  EXPECT_THAT(Ids(images_.SendAgain(2)), ElementsAre(1));
  Take();
  EXPECT_EQ(request_.image(), "\x2");
  EXPECT_FALSE(images_.HasWaiting());
}

TEST_F(UnansweredImagesTest, ASendThatDidNotHappenDoesNotCount) {
  Add(1);
  for (int i = 0; i < 5; ++i) {
    images_.NotSent(Take());
    EXPECT_TRUE(images_.SendAgain(1).empty());
  }
  Take();
  EXPECT_THAT(Ids(images_.SendAgain(1)), ElementsAre(1));
}

TEST_F(UnansweredImagesTest, ImagesExpireWhetherTheyWaitOrAreUnderWay) {
  EXPECT_EQ(images_.NextDeadline(), absl::InfiniteFuture());
  Add(1, 10);
  Add(2, 11);
  Add(3, 12);
  const uint64_t first = Take();
  EXPECT_EQ(images_.NextDeadline(), kStart + absl::Seconds(10));
  EXPECT_TRUE(images_.RemoveExpired(kStart + absl::Seconds(9)).empty());
  EXPECT_THAT(Ids(images_.RemoveExpired(kStart + absl::Seconds(11))),
              ElementsAre(1, 2));
  EXPECT_FALSE(images_.Remove(first).has_value());
  Take();
  EXPECT_EQ(request_.image(), "\x3");
  EXPECT_THAT(Ids(images_.RemoveAll()), ElementsAre(3));
  EXPECT_TRUE(images_.empty());
}

// A clock that is set back.
TEST_F(UnansweredImagesTest, DeadlinesDoNotGoBack) {
  Add(1, 10);
  Add(2, 5);
  EXPECT_TRUE(images_.RemoveExpired(kStart + absl::Seconds(9)).empty());
  EXPECT_THAT(Ids(images_.RemoveExpired(kStart + absl::Seconds(10))),
              ElementsAre(1, 2));
}

}  // namespace
}  // namespace vit::client
