#ifndef MNIST_VIT_TESTS_SERVER_RPC_TOKEN_TEXT_H_
#define MNIST_VIT_TESTS_SERVER_RPC_TOKEN_TEXT_H_

#include <string>
#include <string_view>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "server/rpc/token_file.h"

namespace vit::testing {

// The digest of a token as a file has it.
inline std::string DigestText(std::string_view token) {
  const TokenDigest digest = DigestOf(token);
  return absl::BytesToHexString(absl::string_view(
      reinterpret_cast<const char*>(digest.data()), digest.size()));
}

// A line of a file of tokens.
inline std::string TokenLine(const std::string& name, std::string_view token,
                             const std::string& fields = "") {
  return name + " " + DigestText(token) + " " + fields + "\n";
}

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_SERVER_RPC_TOKEN_TEXT_H_
