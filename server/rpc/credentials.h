#ifndef MNIST_VIT_SERVER_RPC_CREDENTIALS_H_
#define MNIST_VIT_SERVER_RPC_CREDENTIALS_H_

#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace vit {

// PEM files. The first two come together; all empty: plain text.
struct TlsFiles {
  std::string certificate;  // the server's chain
  std::string key;          // its private key
  std::string client_ca;    // not empty: each client needs a certificate of it
};

// How often the files are looked at, so that a renewed certificate is used by
// the connections that come later.
inline constexpr int kTlsRefreshSeconds = 1;

// Credentials of a server. InvalidArgument, naming the file, if one cannot be
// read or the key is not the certificate's. Files that change for the worse
// later leave the last good ones in use.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeCredentials(
    const TlsFiles& files);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_CREDENTIALS_H_
