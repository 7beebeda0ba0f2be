#ifndef MNIST_VIT_SERVER_RPC_TOKEN_FILE_H_
#define MNIST_VIT_SERVER_RPC_TOKEN_FILE_H_

#include <openssl/sha.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

// The file that says who may call. It has one token a line; the rest of a line
// from # on is a comment:
//
//   NAME SHA256 [rate=CALLS_PER_SECOND] [share=N] [methods=METHOD,METHOD]
//
// It holds only the digests of the tokens, so tokens must be random, or they
// can be guessed from it:
//
//   token=$(openssl rand -hex 32)
//   printf %s "$token" | sha256sum
namespace vit {

using TokenDigest = std::array<uint8_t, SHA256_DIGEST_LENGTH>;

// The SHA-256 of a token.
TokenDigest DigestOf(std::string_view token);

struct Token {
  std::string name;  // who calls, for logs and fairness
  TokenDigest digest{};
  double rate = 0;  // calls a second; 0: no limit
  int share = 1;    // of the queue: as large as that of so many clients
  std::set<std::string> methods;  // such as Classify; empty: all
};

// What a file may hold, because every token is compared in every call.
inline constexpr size_t kMaxTokens = 1000;
inline constexpr size_t kMaxTokenFileBytes = 1 << 20;

// Reads `text`, the file's; `path` is for errors. `methods` are all there are.
// There is at least one token, and no name or digest is there twice.
//
// InvalidArgument names the file, the line, and what is expected. It never
// repeats a name or a digest, because a token could stand in their place.
absl::StatusOr<std::vector<Token>> ParseTokens(
    const std::string& path, std::string_view text,
    const std::set<std::string>& methods);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_TOKEN_FILE_H_
