#include "server/telemetry/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/text_serializer.h>

#include "tests/server/fake_classifier.h"

namespace vit {
namespace {

using ::testing::HasSubstr;

class MetricsTest : public ::testing::Test {
 protected:
  std::string Text() {
    return prometheus::TextSerializer().Serialize(registry_.Collect());
  }

  testing::FakeClassifier classifier_{std::make_shared<testing::FakeControl>()};
  prometheus::Registry registry_;
  Metrics metrics_{&registry_, classifier_.info(), {{"version", "1.2.3"}}};
};

TEST_F(MetricsTest, EverySeriesIsZeroBeforeTheFirstRequest) {
  const std::string text = Text();
  for (const Method method : kMethods) {
    for (const char* code :
         {"OK", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED",
          "CANCELLED", "UNAVAILABLE", "INTERNAL"}) {
      EXPECT_THAT(text,
                  HasSubstr(std::string("code=\"") + code + "\",method=\"" +
                            MethodName(method) + "\"} 0"));
    }
  }
  EXPECT_THAT(text, HasSubstr("vit_predictions_total{label=\"9\"} 0"));
  EXPECT_THAT(text, HasSubstr("vit_queue_depth 0"));
  EXPECT_THAT(text, HasSubstr("vit_batch_size_count 0"));
  for (const char* stage : {"queue", "inference", "respond"}) {
    EXPECT_THAT(
        text,
        HasSubstr(std::string("vit_stage_duration_seconds_count{stage=\"") +
                  stage + "\"} 0"));
  }
}

TEST_F(MetricsTest, TheModelAndTheBuildAreNamed) {
  EXPECT_THAT(Text(),
              HasSubstr("vit_model_info{name=\"fake\",version=\"7\"} 1"));
  EXPECT_THAT(Text(), HasSubstr("vit_build_info{version=\"1.2.3\"} 1"));
}

TEST_F(MetricsTest, ARequestIsCountedByMethodAndCodeAndTimedInSeconds) {
  metrics_.OnRequest(Method::kExplain, absl::StatusCode::kInvalidArgument,
                     std::chrono::milliseconds(1500));
  const std::string text = Text();
  EXPECT_THAT(text,
              HasSubstr("{code=\"INVALID_ARGUMENT\",method=\"Explain\"} 1"));
  EXPECT_THAT(
      text,
      HasSubstr("vit_request_duration_seconds_sum{method=\"Explain\"} 1.5"));
}

TEST_F(MetricsTest, ABatchCountsItsImages) {
  metrics_.OnBatch(5, std::chrono::milliseconds(1));
  metrics_.OnBatch(3, std::chrono::milliseconds(1));
  EXPECT_THAT(Text(), HasSubstr("vit_images_total 8"));
  EXPECT_THAT(Text(), HasSubstr("vit_batch_size_sum 8"));
}

TEST_F(MetricsTest, RejectedImagesAreCountedByReason) {
  EXPECT_THAT(Text(),
              HasSubstr("vit_rejected_images_total{reason=\"full\"} 0"));
  EXPECT_THAT(Text(),
              HasSubstr("vit_rejected_images_total{reason=\"late\"} 0"));
  metrics_.OnRejected(BatchObserver::Rejection::kFull, 5);
  metrics_.OnRejected(BatchObserver::Rejection::kLate, 3);
  EXPECT_THAT(Text(),
              HasSubstr("vit_rejected_images_total{reason=\"full\"} 5"));
  EXPECT_THAT(Text(),
              HasSubstr("vit_rejected_images_total{reason=\"late\"} 3"));
}

TEST_F(MetricsTest, TheCostOfABatchIsExportedInSeconds) {
  EXPECT_THAT(Text(), HasSubstr("vit_batch_image_cost_seconds 0\n"));
  EXPECT_THAT(Text(), HasSubstr("vit_batch_fixed_cost_seconds 0\n"));
  metrics_.OnCost({.per_image = std::chrono::milliseconds(500),
                   .per_batch = std::chrono::milliseconds(250)});
  EXPECT_THAT(Text(), HasSubstr("vit_batch_image_cost_seconds 0.5\n"));
  EXPECT_THAT(Text(), HasSubstr("vit_batch_fixed_cost_seconds 0.25\n"));
}

TEST_F(MetricsTest, ACodeThatNobodyForesawIsCountedAsUnknown) {
  metrics_.OnRequest(Method::kClassify, absl::StatusCode::kDataLoss, {});
  EXPECT_THAT(Text(), HasSubstr("{code=\"UNKNOWN\",method=\"Classify\"} 1"));
}

}  // namespace
}  // namespace vit
