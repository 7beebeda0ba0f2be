#include "server/rpc/token_file.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace vit {
namespace {

constexpr size_t kMaxNameLength = 64;
constexpr double kMinRate = 0.001;
constexpr double kMaxRate = 1e6;
constexpr int kMaxShare = 100;

absl::Status Expected(const std::string& what) {
  return absl::InvalidArgumentError("expected " + what);
}

bool IsName(absl::string_view text) {
  return !text.empty() && text.size() <= kMaxNameLength &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
                  c == '_' || c == '-' || c == '.';
         });
}

bool ParseDigest(absl::string_view text, TokenDigest* digest) {
  const bool is_hex =
      text.size() == 2 * digest->size() &&
      std::all_of(text.begin(), text.end(), [](char c) {
        return absl::ascii_isxdigit(static_cast<unsigned char>(c));
      });
  if (!is_hex) return false;
  const std::string bytes = absl::HexStringToBytes(text);
  std::copy(bytes.begin(), bytes.end(), digest->begin());
  return true;
}

// One line at a time; remembers what must not come twice.
class Parser {
 public:
  explicit Parser(const std::set<std::string>& methods) : methods_(methods) {}

  absl::Status ParseLine(absl::string_view line, int number) {
    line = line.substr(0, line.find('#'));
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
    if (words.empty()) return absl::OkStatus();
    if (tokens_.size() == kMaxTokens) {
      return Expected(absl::StrCat("at most ", kMaxTokens, " tokens"));
    }
    Token token;
    if (!IsName(words[0])) {
      return Expected(absl::StrCat("a name first, 1 to ", kMaxNameLength,
                                   " letters, digits, '_', '-' or '.'; found ",
                                   words[0].size(),
                                   " characters, not all of them such"));
    }
    token.name = std::string(words[0]);
    if (words.size() < 2 || !ParseDigest(words[1], &token.digest)) {
      return Expected(absl::StrCat(
          "the token's SHA-256 after the name, ", 2 * token.digest.size(),
          " hexadecimal digits; found ",
          words.size() < 2
              ? "nothing"
              : absl::StrCat(words[1].size(),
                             " characters, not all of them such")));
    }
    for (size_t i = 2; i < words.size(); ++i) {
      if (absl::Status s = ParseField(words[i], &token); !s.ok()) return s;
    }
    if (absl::Status s = Remember(token, number); !s.ok()) return s;
    tokens_.push_back(std::move(token));
    return absl::OkStatus();
  }

  std::vector<Token> tokens() && { return std::move(tokens_); }

 private:
  absl::Status ParseField(absl::string_view word, Token* token) {
    const std::pair<absl::string_view, absl::string_view> field =
        absl::StrSplit(word, absl::MaxSplits('=', 1));
    if (field.first == "rate") {
      double rate = 0;
      if (absl::SimpleAtod(field.second, &rate) && rate >= kMinRate &&
          rate <= kMaxRate) {
        token->rate = rate;
        return absl::OkStatus();
      }
      return Expected(absl::StrCat("rate=", kMinRate, " to ", kMaxRate,
                                   " calls a second, found '",
                                   absl::Utf8SafeCEscape(field.second), "'"));
    }
    if (field.first == "share") {
      if (absl::SimpleAtoi(field.second, &token->share) && token->share >= 1 &&
          token->share <= kMaxShare) {
        return absl::OkStatus();
      }
      return Expected(absl::StrCat("share=1 to ", kMaxShare, ", found '",
                                   absl::Utf8SafeCEscape(field.second), "'"));
    }
    if (field.first == "methods") return ParseMethods(field.second, token);
    return Expected("rate=CALLS_PER_SECOND, share=N or methods=METHOD,METHOD");
  }

  absl::Status ParseMethods(absl::string_view list, Token* token) {
    for (const absl::string_view method : absl::StrSplit(list, ',')) {
      if (!methods_.contains(std::string(method))) {
        return Expected(absl::StrCat("methods=, of ",
                                     absl::StrJoin(methods_, ","), "; found '",
                                     absl::Utf8SafeCEscape(method), "'"));
      }
      token->methods.insert(std::string(method));
    }
    return absl::OkStatus();
  }

  absl::Status Remember(const Token& token, int number) {
    const auto [name, name_is_new] = names_.emplace(token.name, number);
    if (!name_is_new) {
      return Expected(absl::StrCat("another name than line ", name->second));
    }
    const auto [digest, digest_is_new] = digests_.emplace(token.digest, number);
    if (!digest_is_new) {
      return Expected(absl::StrCat("another token than line ", digest->second));
    }
    return absl::OkStatus();
  }

  const std::set<std::string>& methods_;
  std::vector<Token> tokens_;
  // The line of each.
  std::map<std::string, int> names_;
  std::map<TokenDigest, int> digests_;
};

}  // namespace

TokenDigest DigestOf(std::string_view token) {
  TokenDigest digest{};
  SHA256(reinterpret_cast<const unsigned char*>(token.data()), token.size(),
         digest.data());
  return digest;
}

absl::StatusOr<std::vector<Token>> ParseTokens(
    const std::string& path, std::string_view text,
    const std::set<std::string>& methods) {
  Parser parser(methods);
  int number = 0;
  for (const absl::string_view line :
       absl::StrSplit(absl::string_view(text.data(), text.size()), '\n')) {
    ++number;
    if (absl::Status s = parser.ParseLine(line, number); !s.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, ", line ", number, ": ", std::string(s.message())));
    }
  }
  std::vector<Token> tokens = std::move(parser).tokens();
  if (tokens.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected at least one line NAME SHA256"));
  }
  return tokens;
}

}  // namespace vit
