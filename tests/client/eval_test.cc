#include "client/eval.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "client/eval_report.h"
#include "nlohmann/json.hpp"
#include "tests/client/test_files.h"

namespace vit::client {
namespace {

using testing::Bytes;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using testing::TempFolder;

// Images of one pixel each.
IdxImages Pixels(const Bytes& pixels) {
  return {static_cast<int>(pixels.size()), 1, 1, pixels};
}

v1::ClassifyResponse Labelled(int label) {
  v1::ClassifyResponse response;
  response.set_label(label);
  return response;
}

// Answers at once: an image's pixel is its label, and 99 fails.
void AnswerPixel(std::span<const uint8_t> image,
                 const ClassifierClient::ClassifyCallback& done) {
  if (image[0] == 99) {
    done(absl::UnavailableError("host: gone"));
  } else {
    done(Labelled(image[0]));
  }
}

TEST(QuantileTest, IsTheNearestRank) {
  const std::vector<double> four = {10, 20, 30, 40};
  EXPECT_EQ(Quantile(four, 0), 10);
  EXPECT_EQ(Quantile(four, 0.25), 10);
  EXPECT_EQ(Quantile(four, 0.26), 20);
  EXPECT_EQ(Quantile(four, 0.5), 20);
  EXPECT_EQ(Quantile(four, 0.99), 40);
  EXPECT_EQ(Quantile(four, 1), 40);
}

TEST(QuantileTest, RoundingDoesNotMoveARank) {
  std::vector<double> hundred(100);
  for (int i = 0; i < 100; ++i) hundred[i] = i + 1;
  for (int i = 1; i <= 100; ++i) EXPECT_EQ(Quantile(hundred, i / 100.0), i);
}

TEST(QuantileTest, OfNothingIsZero) { EXPECT_EQ(Quantile({}, 0.5), 0); }

TEST(EvalTest, AccuracyAndConfusionAreCounted) {
  const auto result =
      Evaluate(AnswerPixel, Pixels({0, 1, 2, 1}), Bytes{0, 1, 1, 1}, {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->predictions, ElementsAre(0, 1, 2, 1));
  EXPECT_EQ(result->images(), 4);
  EXPECT_EQ(result->correct, 3);
  EXPECT_DOUBLE_EQ(result->accuracy(), 0.75);
  EXPECT_EQ(result->failed(), 0);
  EXPECT_TRUE(result->errors.empty());
  EXPECT_TRUE(result->first_error.ok());
  // The third class was predicted but is no label; it has a row all the same.
  EXPECT_THAT(result->confusion,
              ElementsAre(ElementsAre(1, 0, 0), ElementsAre(0, 2, 1),
                          ElementsAre(0, 0, 0)));
}

TEST(EvalTest, AFailedCallIsCountedAsWrongAndTheOthersGoOn) {
  const auto result =
      Evaluate(AnswerPixel, Pixels({1, 99, 0, 99}), Bytes{1, 1, 0, 0}, {});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->predictions, ElementsAre(1, -1, 0, -1));
  EXPECT_EQ(result->correct, 2);
  EXPECT_EQ(result->failed(), 2);
  EXPECT_DOUBLE_EQ(result->accuracy(), 0.5);
  EXPECT_EQ(result->latencies_seconds.size(), 2u);
  EXPECT_THAT(result->errors,
              ElementsAre(Pair(absl::StatusCode::kUnavailable, 2)));
  EXPECT_EQ(result->first_error, absl::UnavailableError("host: gone"));
  EXPECT_THAT(result->confusion,
              ElementsAre(ElementsAre(1, 0), ElementsAre(0, 1)));
}

TEST(EvalTest, ALabelThatCannotBeIsAnError) {
  for (const int label : {-1, 256}) {
    const auto result = Evaluate(
        [label](std::span<const uint8_t>,
                const ClassifierClient::ClassifyCallback& done) {
          done(Labelled(label));
        },
        Pixels({0}), Bytes{0}, {});
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->failed(), 1);
    EXPECT_THAT(result->errors,
                ElementsAre(Pair(absl::StatusCode::kInternal, 1)));
    EXPECT_THAT(std::string(result->first_error.message()),
                HasSubstr("label " + std::to_string(label)));
  }
}

TEST(EvalTest, TheLimitTakesTheFirstImages) {
  EvalOptions options;
  options.limit = 2;
  const auto result =
      Evaluate(AnswerPixel, Pixels({4, 5, 6}), Bytes{4, 0, 6}, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->predictions, ElementsAre(4, 5));
  EXPECT_EQ(result->correct, 1);

  options.limit = 100;
  EXPECT_EQ(Evaluate(AnswerPixel, Pixels({4, 5, 6}), Bytes{4, 0, 6}, options)
                ->images(),
            3);
}

// Holds requests until `wanted` of them are there, then answers them on a
// thread of its own, in their order.
class HoldingServer {
 public:
  HoldingServer(int wanted, int total) : wanted_(wanted), remaining_(total) {
    thread_ = std::thread([this] { Run(); });
  }
  ~HoldingServer() { thread_.join(); }
  HoldingServer(const HoldingServer&) = delete;
  HoldingServer& operator=(const HoldingServer&) = delete;

  AsyncClassify classify() {
    return [this](std::span<const uint8_t>,
                  ClassifierClient::ClassifyCallback done) {
      const std::lock_guard lock(mutex_);
      held_.push_back(std::move(done));
      most_ = std::max(most_, static_cast<int>(held_.size()) + answering_);
      changed_.notify_all();
    };
  }

  // The most requests that were in flight at once.
  int most() {
    const std::lock_guard lock(mutex_);
    return most_;
  }

 private:
  void Run() {
    std::unique_lock lock(mutex_);
    while (remaining_ > 0) {
      const auto expected = static_cast<size_t>(std::min(wanted_, remaining_));
      changed_.wait(lock, [&] { return held_.size() >= expected; });
      // Time for one more to come, which must not.
      changed_.wait_for(lock, std::chrono::milliseconds(10),
                        [&] { return held_.size() > expected; });
      std::vector<ClassifierClient::ClassifyCallback> batch;
      batch.swap(held_);
      remaining_ -= static_cast<int>(batch.size());
      answering_ = static_cast<int>(batch.size());
      for (const auto& done : batch) {
        // No longer in flight before the answer makes room for the next.
        --answering_;
        lock.unlock();
        done(Labelled(0));
        lock.lock();
      }
    }
  }

  const int wanted_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<ClassifierClient::ClassifyCallback> held_;
  int remaining_;
  int answering_ = 0;
  int most_ = 0;
  std::thread thread_;
};

TEST(EvalTest, AsManyRequestsAsAllowedAreInFlightAndNoMore) {
  constexpr int kImages = 10;
  constexpr int kConcurrency = 3;
  HoldingServer server(kConcurrency, kImages);
  EvalOptions options;
  options.concurrency = kConcurrency;
  const auto result = Evaluate(server.classify(), Pixels(Bytes(kImages)),
                               Bytes(kImages), options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->correct, kImages);
  EXPECT_EQ(server.most(), kConcurrency);
}

TEST(EvalTest, LatenciesAreSortedAndWithinTheTimeOfTheWhole) {
  constexpr int kImages = 50;
  HoldingServer server(kImages, kImages);
  const auto result =
      Evaluate(server.classify(), Pixels(Bytes(kImages)), Bytes(kImages), {});
  ASSERT_TRUE(result.ok()) << result.status();
  const std::vector<double>& latencies = result->latencies_seconds;
  ASSERT_EQ(latencies.size(), static_cast<size_t>(kImages));
  EXPECT_TRUE(std::ranges::is_sorted(latencies));
  // The server holds all of them for 10 ms.
  EXPECT_GE(latencies.front(), 0.009);
  EXPECT_LE(latencies.back(), result->elapsed_seconds);
  EXPECT_DOUBLE_EQ(result->images_per_second(),
                   kImages / result->elapsed_seconds);
}

TEST(EvalTest, ProgressIsToldAfterEveryAnswer) {
  std::vector<std::pair<int, int>> told;
  EvalOptions options;
  options.progress = [&told](int done, int total) {
    told.emplace_back(done, total);
  };
  ASSERT_TRUE(
      Evaluate(AnswerPixel, Pixels({1, 99, 3}), Bytes{1, 2, 3}, options).ok());
  EXPECT_THAT(told, ElementsAre(Pair(1, 3), Pair(2, 3), Pair(3, 3)));
}

struct BadEvaluation {
  const char* name;
  Bytes images;
  Bytes labels;
  int concurrency;
  int limit;
  const char* message;
};

class BadEvaluationTest : public ::testing::TestWithParam<BadEvaluation> {};

TEST_P(BadEvaluationTest, IsRejectedBeforeAnyCall) {
  EvalOptions options;
  options.concurrency = GetParam().concurrency;
  options.limit = GetParam().limit;
  const auto result = Evaluate(
      [](std::span<const uint8_t>, const ClassifierClient::ClassifyCallback&) {
        ADD_FAILURE() << "called";
      },
      Pixels(GetParam().images), GetParam().labels, options);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(result.status().message()), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    Options, BadEvaluationTest,
    ::testing::Values(
        BadEvaluation{
            "FewerLabels", {1, 2}, {1}, 1, 0, "2 images, but 1 labels"},
        BadEvaluation{
            "MoreLabels", {1}, {1, 2}, 1, 0, "1 images, but 2 labels"},
        BadEvaluation{"NoImages", {}, {}, 1, 0, "no images"},
        BadEvaluation{"NoConcurrency",
                      {1},
                      {1},
                      0,
                      0,
                      "concurrency is 0, expected at least 1"},
        BadEvaluation{"NegativeLimit",
                      {1},
                      {1},
                      1,
                      -1,
                      "limit is -1, expected at least 0"}),
    [](const auto& test) { return test.param.name; });

// Three images, of which one was right, one wrong and one failed.
EvalResult SmallResult() {
  EvalResult result;
  result.predictions = {1, 0, -1};
  result.correct = 1;
  result.confusion = {{0, 0}, {1, 12345}};
  result.latencies_seconds = {0.001, 0.0035};
  result.elapsed_seconds = 0.5;
  result.errors[absl::StatusCode::kUnavailable] = 1;
  result.first_error = absl::UnavailableError("host:1: gone");
  return result;
}

TEST(EvalReportTest, ShowsEverythingForPeople) {
  EXPECT_EQ(EvalReport(SmallResult()),
            "accuracy   33.33 % (1 of 3 images)\n"
            "speed      4 images/s (0.50 s)\n"
            "latency    p50 1.00 ms, p90 3.50 ms, p99 3.50 ms, p99.9 3.50 ms, "
            "max 3.50 ms\n"
            "errors     1\n"
            "           1 UNAVAILABLE\n"
            "           the first: host:1: gone\n"
            "\n"
            "confusion: a row for each true label, a column for each "
            "prediction\n"
            "            0     1\n"
            "     0      .     .\n"
            "     1      1 12345\n");
}

TEST(EvalReportTest, NoErrorsTakeOneLine) {
  EvalResult result = SmallResult();
  result.predictions = {1, 0};
  result.errors.clear();
  result.first_error = absl::OkStatus();
  EXPECT_THAT(EvalReport(result), HasSubstr("\nerrors     0\n\nconfusion"));
}

TEST(EvalReportTest, JsonHasEveryMember) {
  const std::string text = EvalJson(SmallResult());
  EXPECT_EQ(text.back(), '\n');
  const nlohmann::json expected = {{"images", 3},
                                   {"correct", 1},
                                   {"accuracy", 1.0 / 3},
                                   {"failed", 1},
                                   {"errors", {{"UNAVAILABLE", 1}}},
                                   {"elapsed_seconds", 0.5},
                                   {"images_per_second", 4.0},
                                   {"latency_seconds",
                                    {{"p50", 0.001},
                                     {"p90", 0.0035},
                                     {"p99", 0.0035},
                                     {"p99_9", 0.0035},
                                     {"max", 0.0035}}},
                                   {"confusion", {{0, 0}, {1, 12345}}}};
  EXPECT_EQ(nlohmann::json::parse(text), expected) << text;
}

TEST(EvalReportTest, JsonWithoutErrorsHasAnEmptyObject) {
  const auto json = nlohmann::json::parse(EvalJson(EvalResult{}));
  EXPECT_EQ(json["errors"], nlohmann::json::object());
  EXPECT_EQ(json["accuracy"], 0);
}

TEST(EvalReportTest, PredictionsAreWrittenOneALineOverAnOlderFile) {
  const TempFolder folder;
  const std::string path = folder.Write("labels.txt", Bytes(1000, 'x'));
  ASSERT_TRUE(WritePredictions(SmallResult(), path).ok());
  EXPECT_EQ(testing::ReadText(path), "1\n0\n-1\n");
}

TEST(EvalReportTest, PredictionsThatCannotBeWrittenAreAnError) {
  const absl::Status status =
      WritePredictions(SmallResult(), "/no/such/folder/labels.txt");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("/no/such/folder/labels.txt"));
}

// Opening this file works, writing to it does not.
TEST(EvalReportTest, AFullDiskIsAnError) {
  const absl::Status status = WritePredictions(SmallResult(), "/dev/full");
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/dev/full"));
}

}  // namespace
}  // namespace vit::client
