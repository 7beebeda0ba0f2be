#include "server/telemetry/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <climits>
#include <string>
#include <thread>

#include "server/telemetry/json_text.h"

namespace vit {
namespace {

constexpr std::chrono::system_clock::time_point kTime{
    std::chrono::microseconds(1'709'208'000'000'001)};

std::string Json(std::string_view text) {
  std::string json;
  AppendJsonString(text, &json);
  return json;
}

TEST(LogTest, TextIsTheMessageAfterAWordForItsSeverity) {
  const auto text = [](Severity severity) {
    return FormatLog(LogForm::kText, kTime,
                     {.severity = severity, .message = "all done"});
  };
  EXPECT_EQ(text(Severity::kInfo), "all done\n");
  EXPECT_EQ(text(Severity::kWarning), "warning: all done\n");
  EXPECT_EQ(text(Severity::kError), "error: all done\n");
}

TEST(LogTest, FieldsOfTextAreInQuotesWhereTheirEndWouldBeUnclear) {
  const LogField fields[] = {{"name", "plain"}, {"id", "a b\n\"c\""},
                             {"none", ""},      {"sum", "a=b"},
                             {"count", 3},      {"seconds", 0.25}};
  EXPECT_EQ(
      FormatLog(LogForm::kText, kTime, {.message = "slow", .fields = fields}),
      "slow: name=plain id=\"a b\\n\\\"c\\\"\" none=\"\" sum=\"a=b\" "
      "count=3 seconds=0.25\n");
}

TEST(LogTest, JsonIsOneObjectALine) {
  const LogField fields[] = {
      {"id", "a \"b\""}, {"count", -3}, {"seconds", 0.25}};
  EXPECT_EQ(FormatLog(LogForm::kJson, kTime,
                      {.severity = Severity::kWarning,
                       .message = "limits:\nmany",
                       .fields = fields}),
            "{\"time\":\"2024-02-29T12:00:00.000001Z\",\"severity\":\"WARNING\""
            ",\"message\":\"limits:\\nmany\",\"id\":\"a \\\"b\\\"\","
            "\"count\":-3,\"seconds\":0.25}\n");
}

TEST(LogTest, TheFormIsChosenForAllLines) {
  ::testing::internal::CaptureStderr();
  Log("one");
  SetLogForm(LogForm::kJson);
  Log("two");
  SetLogForm(LogForm::kText);
  const std::string lines = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(lines, ::testing::StartsWith("one\n{\"time\":\"20"));
  EXPECT_THAT(lines, ::testing::HasSubstr(
                         "\"severity\":\"INFO\",\"message\":\"two\"}\n"));
}

// Standard error is a pipe that is full, as long as it lives.
class FullLog {
 public:
  FullLog() {
    EXPECT_EQ(pipe2(ends_.data(), O_NONBLOCK), 0);
    const std::string bytes(PIPE_BUF, 'x');
    while (write(ends_[1], bytes.data(), bytes.size()) > 0) {
    }
    // As a log is: writing to it waits.
    EXPECT_EQ(fcntl(ends_[1], F_SETFL, 0), 0);
    dup2(ends_[1], STDERR_FILENO);
  }
  ~FullLog() {
    dup2(before_, STDERR_FILENO);
    for (const int end : {ends_[0], ends_[1], before_}) close(end);
  }
  FullLog(const FullLog&) = delete;
  FullLog& operator=(const FullLog&) = delete;

  // What is in the pipe.
  std::string Read() const {
    std::string bytes(1 << 20, '\0');
    const ssize_t count = read(ends_[0], bytes.data(), bytes.size());
    return bytes.substr(0, static_cast<size_t>(std::max<ssize_t>(count, 0)));
  }

 private:
  std::array<int, 2> ends_{};
  const int before_ = dup(STDERR_FILENO);
};

TEST(LogTest, OnTheWayOfARequestNothingWaitsForAReader) {
  bool full = true;
  bool empty = false;
  bool too_long = true;
  std::string line;
  {
    const FullLog log;
    full = LogUnlessBlocked({.message = "line"});
    log.Read();
    empty = LogUnlessBlocked({.message = "line"});
    too_long = LogUnlessBlocked({.message = std::string(PIPE_BUF, 'x')});
    line = log.Read();
  }
  EXPECT_FALSE(full);
  EXPECT_TRUE(empty);
  EXPECT_FALSE(too_long);
  EXPECT_EQ(line, "line\n");
}

TEST(LogTest, OnTheWayOfARequestNothingWaitsForALineThatWaits) {
  constexpr int kMany = 1000;
  int returned = 0;
  {
    const FullLog log;
    std::atomic<bool> waits{true};
    const std::jthread other([&waits] {
      Log("line");
      waits.store(false);
    });
    while (waits.load())
      returned += LogUnlessBlocked({.message = "no"}) ? 0 : 1;
    log.Read();
    Log("so that no loss is left to tell");
  }
  // Had it waited for the other, it would have returned only until the other
  // began.
  EXPECT_GT(returned, kMany);
}

TEST(LogTest, LinesThatNobodyReadsAreLostAndCounted) {
  std::string lines;
  {
    const FullLog log;
    Log("first");
    Log("second");
    log.Read();
    Log("third");
    Log("fourth");
    lines = log.Read();
  }
  EXPECT_EQ(lines, "warning: nobody read the log: lines=2\nthird\nfourth\n");
}

TEST(LogTest, ALineThatIsLongerThanAPipeTakesAtOnceIsWhole) {
  const std::string message(3 * PIPE_BUF, 'y');
  std::string line;
  {
    const FullLog log;
    log.Read();
    Log(message);
    line = log.Read();
  }
  EXPECT_EQ(line, message + "\n");
}

TEST(JsonTextTest, EscapesWhatJsonAsksFor) {
  EXPECT_EQ(Json("a\"b\\c"), "\"a\\\"b\\\\c\"");
  EXPECT_EQ(Json(std::string("\n\t\x1f\x7f\0", 5)),
            "\"\\n\\u0009\\u001f\\u007f\\u0000\"");
}

TEST(JsonTextTest, KeepsUtf8) {
  for (const std::string text : {"\xC2\x80", "\xE2\x82\xAC", "\xED\x9F\xBF",
                                 "\xF0\x9F\x98\x80", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_EQ(Json(text), "\"" + text + "\"");
  }
}

TEST(JsonTextTest, ReplacesWhatIsNotUtf8) {
  const std::string one = "\xEF\xBF\xBD";
  EXPECT_EQ(Json("a\x80z"), "\"a" + one + "z\"");
  EXPECT_EQ(Json("\xE2\x82"), "\"" + one + one + "\"");  // cut off
  EXPECT_EQ(Json("\xC0\xAF"), "\"" + one + one + "\"");  // too long
  EXPECT_EQ(Json("\xE0\x80\x80"), "\"" + one + one + one + "\"");
  EXPECT_EQ(Json("\xED\xA0\x80"), "\"" + one + one + one + "\"");  // surrogate
  EXPECT_EQ(Json("\xF4\x90\x80\x80"),
            "\"" + one + one + one + one + "\"");  // beyond U+10FFFF
  EXPECT_EQ(Json("\xE2\x82\x22"), "\"" + one + one + "\\\"\"");
}

}  // namespace
}  // namespace vit
