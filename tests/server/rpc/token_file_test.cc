#include "server/rpc/token_file.h"

#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "tests/server/rpc/token_text.h"

namespace vit {
namespace {

using testing::DigestText;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::TokenLine;

absl::StatusOr<std::vector<Token>> Parse(const std::string& text) {
  return ParseTokens("tokens.txt", text, {"Classify", "Explain"});
}

std::string ErrorOf(const std::string& text) {
  const auto tokens = Parse(text);
  EXPECT_EQ(tokens.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(tokens.status().message());
}

TEST(TokenFileTest, TheDigestIsWhatSha256sumPrints) {
  EXPECT_EQ(DigestText("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(TokenFileTest, ReadsNamesDigestsAndFields) {
  const auto tokens =
      Parse("# who may call\n\n" + TokenLine("alice", "a") +
            TokenLine("bob-2", "b",
                      "rate=2.5 share=3 methods=Explain,Classify # all") +
            "\tcarol  " + DigestText("c") + "\r\n");
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  ASSERT_EQ(tokens->size(), 3U);
  EXPECT_EQ((*tokens)[0].name, "alice");
  EXPECT_EQ((*tokens)[0].digest, DigestOf("a"));
  EXPECT_EQ((*tokens)[0].rate, 0);
  EXPECT_THAT((*tokens)[0].methods, IsEmpty());
  EXPECT_EQ((*tokens)[1].name, "bob-2");
  EXPECT_EQ((*tokens)[0].share, 1);
  EXPECT_EQ((*tokens)[1].rate, 2.5);
  EXPECT_EQ((*tokens)[1].share, 3);
  EXPECT_THAT((*tokens)[1].methods, ElementsAre("Classify", "Explain"));
  EXPECT_EQ((*tokens)[2].digest, DigestOf("c"));
}

TEST(TokenFileTest, ADigestMayBeInCapitals) {
  std::string line = TokenLine("alice", "a");
  for (char& c : line) {
    if (c >= 'a' && c <= 'f') c = static_cast<char>(c - 'a' + 'A');
  }
  const auto tokens = Parse(line);
  ASSERT_TRUE(tokens.ok()) << tokens.status();
  EXPECT_EQ((*tokens)[0].digest, DigestOf("a"));
}

TEST(TokenFileTest, ErrorsNameFileLineAndWhatIsExpected) {
  const std::string first = TokenLine("alice", "a");
  const std::string where = "tokens.txt, line 2: expected ";
  EXPECT_THAT(ErrorOf(first + "bob\n"),
              HasSubstr(where + "the token's SHA-256"));
  EXPECT_THAT(ErrorOf(first + "bo/b " + DigestText("b")),
              HasSubstr(where + "a name"));
  EXPECT_THAT(ErrorOf(first + std::string(65, 'b') + " " + DigestText("b")),
              HasSubstr(where + "a name"));
  for (const char* rate : {"", "0", "-1", "1e7", "nan", "inf", "many"}) {
    EXPECT_THAT(
        ErrorOf(first + TokenLine("bob", "b", "rate=" + std::string(rate))),
        HasSubstr(where + "rate=0.001 to 1e+06 calls a second, found '" + rate +
                  "'"));
  }
  for (const char* method : {"", "Paint", "classify"}) {
    EXPECT_THAT(ErrorOf(first + TokenLine("bob", "b",
                                          "methods=" + std::string(method))),
                HasSubstr(where + "methods=, of Classify,Explain; found '" +
                          method + "'"));
  }
  for (const char* share : {"", "0", "-1", "101", "1.5", "all"}) {
    EXPECT_THAT(
        ErrorOf(first + TokenLine("bob", "b", "share=" + std::string(share))),
        HasSubstr(where + "share=1 to 100, found '" + share + "'"));
  }
  EXPECT_THAT(ErrorOf(first + TokenLine("bob", "b", "weight=2")),
              HasSubstr(where + "rate=CALLS_PER_SECOND, share=N or methods="));
}

TEST(TokenFileTest, NamesAndTokensComeOnce) {
  EXPECT_EQ(ErrorOf(TokenLine("alice", "a") + TokenLine("alice", "b")),
            "tokens.txt, line 2: expected another name than line 1");
  EXPECT_EQ(ErrorOf(TokenLine("alice", "a") + TokenLine("bob", "a")),
            "tokens.txt, line 2: expected another token than line 1");
}

TEST(TokenFileTest, AFileWithoutTokensIsAnError) {
  EXPECT_EQ(ErrorOf("# nobody\n"),
            "tokens.txt: expected at least one line NAME SHA256");
}

TEST(TokenFileTest, ThereAreAtMostAThousandTokens) {
  std::string text;
  for (size_t i = 0; i < kMaxTokens; ++i) {
    text += TokenLine("t" + std::to_string(i), std::to_string(i));
  }
  EXPECT_TRUE(Parse(text).ok());
  EXPECT_EQ(ErrorOf(text + TokenLine("more", "more")),
            "tokens.txt, line 1001: expected at most 1000 tokens");
}

// A token may stand where its digest or its name belongs.
TEST(TokenFileTest, ErrorsRepeatNothingThatCouldBeAToken) {
  const std::string secret = "tOken+Secret";
  for (const std::string& line :
       {"alice " + secret, secret, secret + " " + DigestText("a"),
        TokenLine("alice", "a", secret)}) {
    EXPECT_THAT(ErrorOf(line), Not(HasSubstr(secret)));
  }
}

}  // namespace
}  // namespace vit
