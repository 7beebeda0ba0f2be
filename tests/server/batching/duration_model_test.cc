#include "server/batching/duration_model.h"

#include <gtest/gtest.h>

#include <initializer_list>

namespace vit {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

// As measured of a batch: an image costs 64 us, a batch 20 us.
Clock::duration Took(size_t images) {
  return images * microseconds(64) + microseconds(20);
}

// Every size of the list once, in turn, `rounds` times.
void LearnSizes(DurationModel* model, std::initializer_list<size_t> sizes,
                int rounds) {
  for (int round = 0; round < rounds; ++round) {
    for (const size_t size : sizes) model->Learn(size, Took(size));
  }
}

void ExpectNear(Clock::duration actual, Clock::duration expected) {
  EXPECT_NEAR(static_cast<double>(actual.count()),
              static_cast<double>(expected.count()), 50);
}

TEST(DurationModelTest, NothingIsSaidBeforeAFewBatches) {
  DurationModel model;
  for (int i = 0; i < 7; ++i) {
    model.Learn(1, Took(1));
    EXPECT_FALSE(model.cost().has_value());
  }
  model.Learn(1, Took(1));
  EXPECT_TRUE(model.cost().has_value());
}

TEST(DurationModelTest, ALineIsFoundExactly) {
  DurationModel model;
  LearnSizes(&model, {1, 2, 32, 7}, 2);
  ExpectNear(model.cost()->per_image, microseconds(64));
  ExpectNear(model.cost()->per_batch, microseconds(20));
}

TEST(DurationModelTest, BatchesOfOneSizeAreThatSizesDuration) {
  DurationModel model;
  LearnSizes(&model, {16}, 1000);
  ExpectNear(model.cost()->Of(16), Took(16));
  EXPECT_EQ(model.cost()->per_image, Clock::duration(0));
}

TEST(DurationModelTest, TheSlopeIsKeptWhileAllBatchesAreOfOneSize) {
  DurationModel model;
  LearnSizes(&model, {1, 8, 32}, 10);
  LearnSizes(&model, {1}, 10000);
  ExpectNear(model.cost()->Of(1), Took(1));
  ExpectNear(model.cost()->Of(32), Took(32));
}

TEST(DurationModelTest, AMachineThatBecomesSlowerIsLearnedAnew) {
  DurationModel model;
  LearnSizes(&model, {1, 32}, 100);
  for (int i = 0; i < 500; ++i) {
    for (const size_t size : {1, 32}) model.Learn(size, 10 * Took(size));
  }
  ExpectNear(model.cost()->Of(32), 10 * Took(32));
}

TEST(DurationModelTest, ABatchWhoseThreadWasStoppedHardlyCounts) {
  DurationModel model;
  LearnSizes(&model, {1, 32}, 100);
  model.Learn(32, seconds(10));
  EXPECT_LT(model.cost()->Of(32), Took(32) * 11 / 10);
}

TEST(DurationModelTest, AFirstBatchThatTookFarTooLongIsSoonForgotten) {
  DurationModel model;
  model.Learn(1, seconds(1));
  LearnSizes(&model, {1}, 20);
  EXPECT_LT(model.cost()->Of(1), 5 * Took(1));
  LearnSizes(&model, {1}, 1000);
  ExpectNear(model.cost()->Of(1), Took(1));
}

TEST(DurationModelTest, NeitherCoefficientIsNegative) {
  DurationModel falling;
  for (int i = 0; i < 50; ++i) {
    falling.Learn(1, milliseconds(3));
    falling.Learn(2, milliseconds(1));
  }
  EXPECT_EQ(falling.cost()->per_image, Clock::duration(0));
  EXPECT_GT(falling.cost()->per_batch, milliseconds(1));

  DurationModel steep;
  for (int i = 0; i < 50; ++i) {
    steep.Learn(1, milliseconds(1));
    steep.Learn(2, milliseconds(3));
  }
  EXPECT_EQ(steep.cost()->per_batch, Clock::duration(0));
  EXPECT_GT(steep.cost()->per_image, milliseconds(1));
}

}  // namespace
}  // namespace vit
