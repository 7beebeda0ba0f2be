#include "server/rpc/authenticator.h"

#include <openssl/crypto.h>

#include <array>
#include <fstream>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/base/retry_after.h"

namespace vit {
namespace {

using Rule = RpcObserver::Rule;

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text;
  std::array<char, 4096> part{};
  while (file && text.size() <= kMaxTokenFileBytes) {
    file.read(part.data(), part.size());
    text.append(part.data(), static_cast<size_t>(file.gcount()));
  }
  if (!file.is_open() || file.bad()) {
    return absl::NotFoundError(
        absl::StrCat(path, ": expected a file of tokens, can't read it"));
  }
  if (text.size() > kMaxTokenFileBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": expected at most ", kMaxTokenFileBytes, " bytes"));
  }
  return text;
}

// Without "Bearer ", whose case doesn't matter (RFC 9110, 11.1); empty if it is
// something else.
std::string_view BearerToken(std::string_view authorization) {
  constexpr absl::string_view kScheme = "Bearer ";
  const absl::string_view text(authorization.data(), authorization.size());
  if (!absl::StartsWithIgnoreCase(text, kScheme)) return {};
  return authorization.substr(kScheme.size());
}

std::string_view ShortName(std::string_view method) {
  return method.substr(method.rfind('/') + 1);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Authenticator>> Authenticator::Open(
    const std::string& path, const std::set<std::string>& methods,
    RpcObserver* observer, OnChange on_change, Clock::duration interval) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (!text.ok()) return text.status();
  absl::StatusOr<std::vector<Token>> tokens = ParseTokens(path, *text, methods);
  if (!tokens.ok()) return tokens.status();
  // The constructor is private, so not make_unique.
  std::unique_ptr<Authenticator> authenticator(
      new Authenticator(path, methods, observer, std::move(on_change)));
  authenticator->Use(*std::move(tokens));
  {
    MutexLock lock(&authenticator->file_mutex_);
    authenticator->last_read_ = *std::move(text);
  }
  if (interval > Clock::duration(0)) {
    authenticator->thread_ = std::thread(
        [raw = authenticator.get(), interval] { raw->Run(interval); });
  }
  return authenticator;
}

Authenticator::Authenticator(std::string path, std::set<std::string> methods,
                             RpcObserver* observer, OnChange on_change)
    : path_(std::move(path)),
      methods_(std::move(methods)),
      observer_(observer),
      on_change_(std::move(on_change)) {}

Authenticator::~Authenticator() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
  if (thread_.joinable()) thread_.join();
}

void Authenticator::Run(Clock::duration interval) {
  while (true) {
    {
      MutexLock lock(&mutex_);
      const Clock::time_point next = Clock::now() + interval;
      while (!stopping_ && Clock::now() < next) {
        changed_.WaitUntil(&mutex_, next);
      }
      if (stopping_) return;
    }
    Reread();
  }
}

// Compares the text, not the time of its change: a file that is written in two
// steps within one tick of the file system's clock is seen all the same.
void Authenticator::Reread() {
  MutexLock lock(&file_mutex_);
  const absl::StatusOr<std::string> text = ReadFile(path_);
  std::string read = text.ok() ? *text : std::string(text.status().message());
  if (read == last_read_) return;
  last_read_ = std::move(read);
  if (!text.ok()) return on_change_(text.status());
  absl::StatusOr<std::vector<Token>> tokens =
      ParseTokens(path_, *text, methods_);
  if (!tokens.ok()) return on_change_(tokens.status());
  const size_t count = tokens->size();
  Use(*std::move(tokens));
  on_change_(count);
}

void Authenticator::Use(std::vector<Token> tokens) {
  MutexLock lock(&mutex_);
  std::vector<Entry> entries;
  for (Token& token : tokens) {
    Entry entry;
    entry.flow = absl::HashOf(token.name);
    if (token.rate > 0) entry.limit = RateLimit(token.rate);
    for (const Entry& old : entries_) {
      if (old.token.name == token.name && old.token.rate == token.rate) {
        entry.limit = old.limit;
      }
    }
    entry.token = std::move(token);
    entries.push_back(std::move(entry));
  }
  entries_ = std::move(entries);
}

Authenticator::Entry* Authenticator::Find(std::string_view authorization) {
  const std::string_view token = BearerToken(authorization);
  if (token.empty() || token.size() > kMaxTokenLength) return nullptr;
  const TokenDigest digest = DigestOf(token);
  Entry* found = nullptr;
  for (Entry& entry : entries_) {  // all of them, whichever it is
    if (CRYPTO_memcmp(entry.token.digest.data(), digest.data(),
                      digest.size()) == 0) {
      found = &entry;
    }
  }
  return found;
}

absl::StatusOr<Caller> Authenticator::Check(std::string_view authorization,
                                            std::string_view method,
                                            Clock::time_point now) {
  MutexLock lock(&mutex_);
  Entry* const entry = Find(authorization);
  if (entry == nullptr) {
    observer_->OnRefused(Rule::kUnauthenticated);
    return absl::UnauthenticatedError(
        authorization.empty()
            ? "expected the header 'authorization: Bearer TOKEN', found none"
            : "expected a token that this server knows, found another");
  }
  const Token& token = entry->token;
  const std::string name(ShortName(method));
  if (!token.methods.empty() && !token.methods.contains(name)) {
    observer_->OnRefused(Rule::kForbidden);
    return absl::PermissionDeniedError(
        absl::StrCat("the token of '", token.name, "' is not for ", name));
  }
  if (entry->limit.has_value()) {
    const Clock::duration wait = entry->limit->Take(now);
    if (wait > Clock::duration(0)) {
      observer_->OnRefused(Rule::kRateLimit);
      absl::Status status = absl::ResourceExhaustedError(
          absl::StrCat("the token of '", token.name, "' is for at most ",
                       token.rate, " calls a second"));
      SetRetryAfter(wait, &status);
      return status;
    }
  }
  return Caller{.name = token.name, .flow = entry->flow, .share = token.share};
}

}  // namespace vit
