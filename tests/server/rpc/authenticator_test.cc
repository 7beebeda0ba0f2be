#include "server/rpc/authenticator.h"

#include <gmock/gmock.h>

#include <chrono>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "server/base/retry_after.h"
#include "tests/integration/temporary_folder.h"
#include "tests/server/rpc/fake_observer.h"
#include "tests/server/rpc/token_text.h"

namespace vit {
namespace {

using testing::FakeObserver;
using ::testing::HasSubstr;
using testing::TemporaryFolder;
using testing::TokenLine;
using Rule = RpcObserver::Rule;

constexpr char kClassify[] = "/vit.v1.Classifier/Classify";
constexpr char kExplain[] = "/vit.v1.Classifier/Explain";
constexpr Clock::time_point kStart{std::chrono::hours(5)};

class AuthenticatorTest : public ::testing::Test {
 protected:
  void Open(const std::string& text) {
    folder_.Write("tokens", text);
    auto opened = Authenticator::Open(
        folder_.File("tokens"), {"Classify", "Explain"}, &observer_,
        [this](const absl::StatusOr<size_t>& tokens) {
          changes_.push_back(tokens);
        },
        /*interval=*/Clock::duration(0));
    ASSERT_TRUE(opened.ok()) << opened.status();
    authenticator_ = *std::move(opened);
  }

  absl::StatusCode Check(const std::string& authorization,
                         const std::string& method = kClassify,
                         Clock::time_point now = kStart) {
    return authenticator_->Check(authorization, method, now).status().code();
  }

  void Rewrite(const std::string& text) {
    folder_.Write("tokens", text);
    authenticator_->Reread();
  }

  TemporaryFolder folder_;
  FakeObserver observer_;
  std::vector<absl::StatusOr<size_t>> changes_;
  std::unique_ptr<Authenticator> authenticator_;
};

TEST_F(AuthenticatorTest, FindsWhoCallsWhereverTheTokenStands) {
  Open(TokenLine("alice", "a") + TokenLine("bob", "b") +
       TokenLine("carol", "c"));
  for (const auto& [token, name] :
       {std::pair("a", "alice"), {"b", "bob"}, {"c", "carol"}}) {
    const auto caller = authenticator_->Check("Bearer " + std::string(token),
                                              kClassify, kStart);
    ASSERT_TRUE(caller.ok()) << caller.status();
    EXPECT_EQ(caller->name, name);
    EXPECT_NE(caller->flow, 0U);
  }
  EXPECT_NE(authenticator_->Check("Bearer a", kClassify, kStart)->flow,
            authenticator_->Check("Bearer b", kClassify, kStart)->flow);
  EXPECT_EQ(Check("bearer a"), absl::StatusCode::kOk);
}

TEST_F(AuthenticatorTest, RefusesAndCountsWhatIsNoKnownToken) {
  Open(TokenLine("alice", "a") + TokenLine("empty", ""));
  const std::vector<std::string> wrong = {
      "",
      "a",
      "Bearer",
      "Bearer ",
      "Bearer b",
      "Bearer a ",
      "Bearer  a",
      "Basic a",
      "Bearer aa",
      "Bearer " + testing::DigestText("a"),
      "Bearer " + std::string(Authenticator::kMaxTokenLength + 1, 'a')};
  for (const std::string& authorization : wrong) {
    EXPECT_EQ(Check(authorization), absl::StatusCode::kUnauthenticated)
        << authorization;
  }
  EXPECT_EQ(observer_.refused(Rule::kUnauthenticated), int(wrong.size()));
}

TEST_F(AuthenticatorTest, ATokenOfTheGreatestLengthIsFound) {
  const std::string token(Authenticator::kMaxTokenLength, 'a');
  Open(TokenLine("alice", token));
  EXPECT_EQ(Check("Bearer " + token), absl::StatusCode::kOk);
}

TEST_F(AuthenticatorTest, AnswersRepeatNoToken) {
  Open(TokenLine("alice", "a"));
  const auto refused =
      authenticator_->Check("Bearer Secret", kClassify, kStart);
  EXPECT_THAT(std::string(refused.status().message()),
              ::testing::Not(HasSubstr("Secret")));
}

TEST_F(AuthenticatorTest, ATokenForSomeMethodsIsForNoOthers) {
  Open(TokenLine("alice", "a", "methods=Classify"));
  EXPECT_EQ(Check("Bearer a", kClassify), absl::StatusCode::kOk);
  EXPECT_EQ(Check("Bearer a", kExplain), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(observer_.refused(Rule::kForbidden), 1);
}

TEST_F(AuthenticatorTest, ATokenUsedTooOftenIsToldHowLongToWait) {
  Open(TokenLine("alice", "a", "rate=2") + TokenLine("bob", "b"));
  EXPECT_EQ(Check("Bearer a"), absl::StatusCode::kOk);
  EXPECT_EQ(Check("Bearer a"), absl::StatusCode::kOk);
  const absl::Status status =
      authenticator_->Check("Bearer a", kClassify, kStart).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(RetryAfter(status), std::chrono::milliseconds(500));
  EXPECT_EQ(Check("Bearer b"), absl::StatusCode::kOk);
  EXPECT_EQ(
      Check("Bearer a", kClassify, kStart + std::chrono::milliseconds(500)),
      absl::StatusCode::kOk);
  EXPECT_EQ(observer_.refused(Rule::kRateLimit), 1);
}

TEST_F(AuthenticatorTest, AForbiddenCallCostsNoneOfTheRate) {
  Open(TokenLine("alice", "a", "rate=1 methods=Classify"));
  EXPECT_EQ(Check("Bearer a", kExplain), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Check("Bearer a", kClassify), absl::StatusCode::kOk);
}

TEST_F(AuthenticatorTest, AChangedFileIsUsed) {
  Open(TokenLine("alice", "a"));
  authenticator_->Reread();
  EXPECT_TRUE(changes_.empty());
  Rewrite(TokenLine("bob", "b") + TokenLine("carol", "c"));
  EXPECT_EQ(Check("Bearer a"), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(Check("Bearer b"), absl::StatusCode::kOk);
  ASSERT_EQ(changes_.size(), 1U);
  EXPECT_EQ(changes_[0].value_or(0), 2U);
}

TEST_F(AuthenticatorTest, ARateThatStaysIsNotFilledUpByAChange) {
  Open(TokenLine("alice", "a", "rate=1"));
  EXPECT_EQ(Check("Bearer a"), absl::StatusCode::kOk);
  Rewrite(TokenLine("alice", "a", "rate=1") + TokenLine("bob", "b"));
  EXPECT_EQ(Check("Bearer a"), absl::StatusCode::kResourceExhausted);
  Rewrite(TokenLine("alice", "a"));
  EXPECT_EQ(Check("Bearer a"), absl::StatusCode::kOk);
}

TEST_F(AuthenticatorTest, AFileThatTurnsBadOrGoesLeavesTheTokensInUse) {
  Open(TokenLine("alice", "a"));
  Rewrite("alice\n");
  authenticator_->Reread();  // reports it once
  ASSERT_EQ(changes_.size(), 1U);
  EXPECT_THAT(std::string(changes_[0].status().message()),
              HasSubstr("line 1: expected"));
  std::filesystem::remove(folder_.File("tokens"));
  authenticator_->Reread();
  authenticator_->Reread();
  ASSERT_EQ(changes_.size(), 2U);
  EXPECT_EQ(changes_[1].status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Check("Bearer a"), absl::StatusCode::kOk);
}

TEST_F(AuthenticatorTest, ItsThreadSeesAChange) {
  folder_.Write("tokens", TokenLine("alice", "a"));
  std::promise<size_t> changed;
  const auto authenticator = Authenticator::Open(
      folder_.File("tokens"), {}, &observer_,
      [&changed](const absl::StatusOr<size_t>& tokens) {
        // A file that is half written has no token yet.
        if (tokens.ok()) changed.set_value(*tokens);
      },
      std::chrono::milliseconds(1));
  ASSERT_TRUE(authenticator.ok()) << authenticator.status();
  folder_.Write("next", TokenLine("bob", "b"));
  std::filesystem::rename(folder_.File("next"), folder_.File("tokens"));
  EXPECT_EQ(changed.get_future().get(), 1U);
  EXPECT_TRUE((*authenticator)->Check("Bearer b", kClassify, kStart).ok());
}

TEST_F(AuthenticatorTest, AFileThatCannotBeUsedAtTheStartIsNamed) {
  const auto open = [this](const std::string& path) {
    return Authenticator::Open(path, {}, &observer_, nullptr).status();
  };
  const absl::Status missing = open(folder_.File("none"));
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr(folder_.File("none")));
  EXPECT_EQ(open(folder_.path()).code(), absl::StatusCode::kNotFound);
  const absl::Status large =
      open(folder_.Write("large", std::string(kMaxTokenFileBytes + 1, '\n')));
  EXPECT_THAT(std::string(large.message()),
              HasSubstr(folder_.File("large") + ": expected at most"));
}

}  // namespace
}  // namespace vit
