#include "server/rpc/request_id.h"

#include <gmock/gmock.h>

#include <string>

namespace vit {
namespace {

constexpr char kTrace[] = "4bf92f3577b34da6a3ce929d0e0e4736";
constexpr char kParent[] = "00f067aa0ba902b7";

std::string TraceParent(const std::string& version, const std::string& trace,
                        const std::string& parent, const std::string& flags) {
  return version + "-" + trace + "-" + parent + "-" + flags;
}

TEST(RequestIdTest, PrintableTextOfUpToTheGreatestLengthIsValid) {
  const std::string longest(kMaxRequestIdLength, 'x');
  EXPECT_EQ(ValidRequestId("order 66/~"), "order 66/~");
  EXPECT_EQ(ValidRequestId(longest), longest);
}

TEST(RequestIdTest, OtherTextIsNot) {
  for (const std::string& text :
       {std::string(kMaxRequestIdLength + 1, 'x'), std::string("a\nb"),
        std::string("a\tb"), std::string("\x7f"), std::string("\xc3\xa9"),
        std::string("\0", 1)}) {
    EXPECT_EQ(ValidRequestId(text), "") << text;
  }
}

TEST(RequestIdTest, ANewOneIs32DigitsAndNoOtherIsTheSame) {
  const std::string id = NewRequestId();
  EXPECT_EQ(id.size(), 32U);
  EXPECT_EQ(id.find_first_not_of("0123456789abcdef"), std::string::npos);
  EXPECT_NE(id, NewRequestId());
}

TEST(TraceParentTest, TheTraceOfAValidHeaderIsFound) {
  EXPECT_EQ(TraceIdOf(TraceParent("00", kTrace, kParent, "01")), kTrace);
}

TEST(TraceParentTest, ALaterVersionMayGoOnAfterADash) {
  const std::string later = TraceParent("01", kTrace, kParent, "00");
  EXPECT_EQ(TraceIdOf(later), kTrace);
  EXPECT_EQ(TraceIdOf(later + "-more"), kTrace);
  EXPECT_EQ(TraceIdOf(later + "more"), "");
  EXPECT_EQ(TraceIdOf(later + "-" + std::string(1000, 'x')), "");
}

TEST(TraceParentTest, WhatIsNotOfTheFormHasNoTrace) {
  const std::string valid = TraceParent("00", kTrace, kParent, "01");
  std::string capitals = kTrace;
  capitals[1] = 'B';
  for (const std::string& header :
       {std::string(), valid.substr(1), valid + "-", valid + "0", " " + valid,
        TraceParent("ff", kTrace, kParent, "01"),
        TraceParent("0x", kTrace, kParent, "01"),
        TraceParent("00", capitals, kParent, "01"),
        TraceParent("00", std::string(32, '0'), kParent, "01"),
        TraceParent("00", kTrace, std::string(16, '0'), "01"),
        TraceParent("00", kTrace, kParent, "0g")}) {
    EXPECT_EQ(TraceIdOf(header), "") << header;
  }
  for (const size_t dash : {2, 35, 52}) {
    std::string header = valid;
    header[dash] = '_';
    EXPECT_EQ(TraceIdOf(header), "") << header;
  }
}

}  // namespace
}  // namespace vit
