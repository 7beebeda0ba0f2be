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
  Metrics metrics_{&registry_, {{"version", "1.2.3"}}};
  std::shared_ptr<ModelMetrics> model_ = metrics_.ForModel(classifier_.info());
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
  EXPECT_THAT(
      text,
      HasSubstr(
          "vit_predictions_total{label=\"9\",model=\"fake\",version=\"7\"} 0"));
  EXPECT_THAT(text,
              HasSubstr("vit_queue_depth{model=\"fake\",version=\"7\"} 0"));
  EXPECT_THAT(
      text, HasSubstr("vit_batch_size_count{model=\"fake\",version=\"7\"} 0"));
  for (const char* stage : {"queue", "inference", "respond"}) {
    EXPECT_THAT(text,
                HasSubstr(std::string("vit_stage_duration_seconds_count{model="
                                      "\"fake\",stage=\"") +
                          stage + "\",version=\"7\"} 0"));
  }
}

TEST_F(MetricsTest, TheModelAndTheBuildAreNamed) {
  EXPECT_THAT(Text(),
              HasSubstr("vit_model_info{model=\"fake\",version=\"7\"} 1"));
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

TEST_F(MetricsTest, ABatchCountsItsImagesAndWhyItLeft) {
  model_->OnBatch(5, std::chrono::milliseconds(1),
                  BatchObserver::Leaving::kFull);
  model_->OnBatch(3, std::chrono::milliseconds(1),
                  BatchObserver::Leaving::kInline);
  const std::string text = Text();
  EXPECT_THAT(text,
              HasSubstr("vit_images_total{model=\"fake\",version=\"7\"} 8"));
  EXPECT_THAT(text,
              HasSubstr("vit_batch_size_sum{model=\"fake\",version=\"7\"} 8"));
  EXPECT_THAT(text, HasSubstr("vit_batches_total{model=\"fake\",reason="
                              "\"full\",version=\"7\"} 1"));
  EXPECT_THAT(text, HasSubstr("vit_batches_total{model=\"fake\",reason="
                              "\"inline\",version=\"7\"} 1"));
}

TEST_F(MetricsTest, AFailedBatchIsNotCountedAsComputed) {
  model_->OnBatchFailed(4);
  const std::string text = Text();
  EXPECT_THAT(text,
              HasSubstr("vit_images_total{model=\"fake\",version=\"7\"} 0"));
  EXPECT_THAT(
      text,
      HasSubstr("vit_failed_images_total{model=\"fake\",version=\"7\"} 4"));
}

TEST_F(MetricsTest, RejectedImagesAreCountedByReason) {
  model_->OnRejected(BatchObserver::Rejection::kFull, 5);
  model_->OnRejected(BatchObserver::Rejection::kLate, 3);
  const std::string text = Text();
  EXPECT_THAT(text, HasSubstr("vit_rejected_images_total{model=\"fake\","
                              "reason=\"full\",version=\"7\"} 5"));
  EXPECT_THAT(text, HasSubstr("vit_rejected_images_total{model=\"fake\","
                              "reason=\"late\",version=\"7\"} 3"));
  EXPECT_THAT(text, HasSubstr("vit_rejected_images_total{model=\"fake\","
                              "reason=\"displaced\",version=\"7\"} 0"));
}

TEST_F(MetricsTest, TheCostOfABatchIsExportedInSeconds) {
  model_->OnCost(std::chrono::milliseconds(500),
                 std::chrono::milliseconds(250));
  const std::string text = Text();
  EXPECT_THAT(text, HasSubstr("vit_batch_image_cost_seconds{model=\"fake\","
                              "version=\"7\"} 0.5\n"));
  EXPECT_THAT(text, HasSubstr("vit_batch_fixed_cost_seconds{model=\"fake\","
                              "version=\"7\"} 0.25\n"));
}

TEST_F(MetricsTest, AModelsSeriesGoWithIt) {
  const std::shared_ptr<ModelMetrics> same =
      metrics_.ForModel(classifier_.info());
  EXPECT_EQ(same, model_);
  model_.reset();
  EXPECT_THAT(Text(), HasSubstr("model=\"fake\""));
}

TEST_F(MetricsTest, WhenAModelHasGoneItHasNoSeries) {
  model_.reset();
  EXPECT_THAT(Text(), ::testing::Not(HasSubstr("model=\"fake\"")));
}

TEST_F(MetricsTest, RefusalsAreCountedByRule) {
  metrics_.OnRefused(RpcObserver::Rule::kMalformed);
  EXPECT_THAT(Text(), HasSubstr("vit_refused_total{rule=\"malformed\"} 1"));
  EXPECT_THAT(Text(), HasSubstr("vit_refused_total{rule=\"write_timeout\"} 0"));
}

TEST_F(MetricsTest, ACodeThatNobodyForesawIsCountedAsUnknown) {
  metrics_.OnRequest(Method::kClassify, absl::StatusCode::kDataLoss, {});
  EXPECT_THAT(Text(), HasSubstr("{code=\"UNKNOWN\",method=\"Classify\"} 1"));
}

}  // namespace
}  // namespace vit
