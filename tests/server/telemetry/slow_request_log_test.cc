#include "server/telemetry/slow_request_log.h"

#include <gmock/gmock.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

namespace vit {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr Clock::time_point kStart{std::chrono::hours(5)};

class SlowRequestLogTest : public ::testing::Test {
 protected:
  bool Write(const LogEntry& entry) {
    if (blocked_) return false;
    lines_.push_back(FormatLog(LogForm::kText, {}, entry));
    return true;
  }

  // Adds so many requests at this time.
  void Add(int count, Clock::time_point now) {
    SlowRequest request;
    request.method = "Classify";
    for (int i = 0; i < count; ++i) log_->Add(request, now);
  }

  bool blocked_ = false;
  std::vector<std::string> lines_;
  std::unique_ptr<SlowRequestLog> log_ = std::make_unique<SlowRequestLog>(
      milliseconds(100),
      [this](const LogEntry& entry) { return Write(entry); });
};

TEST_F(SlowRequestLogTest, OnlyWhatTakesLongerThanTheLimitIsSlow) {
  EXPECT_FALSE(log_->IsSlow(milliseconds(100)));
  EXPECT_TRUE(log_->IsSlow(milliseconds(101)));
  EXPECT_FALSE(
      SlowRequestLog(Clock::duration(0)).IsSlow(std::chrono::hours(1)));
}

TEST_F(SlowRequestLogTest, ALineHasTheStagesAndWhoAsked) {
  log_->Add({.method = "Explain",
             .code = absl::StatusCode::kDeadlineExceeded,
             .total = milliseconds(1500),
             .queue = milliseconds(1250),
             .inference = milliseconds(125),
             .batch_size = 7,
             .peer = "ipv4:192.0.2.1:1234",
             .client = "alice",
             .request_id = "order 66",
             .trace_id = "4bf9"},
            kStart);
  EXPECT_THAT(
      lines_,
      ElementsAre("warning: slow request: method=Explain "
                  "code=DEADLINE_EXCEEDED total_seconds=1.5 "
                  "queue_seconds=1.25 inference_seconds=0.125 batch_size=7 "
                  "peer=ipv4:192.0.2.1:1234 client=alice "
                  "request_id=\"order 66\" trace_id=4bf9\n"));
}

TEST_F(SlowRequestLogTest, TextsThatAreEmptyAreLeftOut) {
  Add(1, kStart);
  EXPECT_THAT(lines_,
              ElementsAre("warning: slow request: method=Classify code=OK "
                          "total_seconds=0 queue_seconds=0 "
                          "inference_seconds=0 batch_size=0\n"));
}

TEST_F(SlowRequestLogTest, LinesBeyondTenASecondAreCountedAndSaid) {
  Add(25, kStart);
  EXPECT_THAT(lines_, SizeIs(10));
  Add(1, kStart + milliseconds(100));
  ASSERT_THAT(lines_, SizeIs(12));
  EXPECT_EQ(lines_[10],
            "warning: slow requests that were left out: requests=15\n");
  EXPECT_THAT(lines_[11], ::testing::StartsWith("warning: slow request: "));
  Add(1, kStart + milliseconds(300));
  EXPECT_THAT(lines_, SizeIs(13));
}

TEST_F(SlowRequestLogTest, WhatWasLeftOutIsSaidAtTheEnd) {
  Add(12, kStart);
  log_.reset();
  EXPECT_EQ(lines_.back(),
            "warning: slow requests that were left out: requests=2\n");
}

TEST_F(SlowRequestLogTest, WhatCannotBeWrittenIsLeftOut) {
  blocked_ = true;
  Add(3, kStart);
  EXPECT_THAT(lines_, IsEmpty());
  blocked_ = false;
  Add(1, kStart);
  EXPECT_EQ(lines_.front(),
            "warning: slow requests that were left out: requests=3\n");
  EXPECT_THAT(lines_, SizeIs(2));
}

}  // namespace
}  // namespace vit
