#ifndef MNIST_VIT_SERVER_RPC_AUTHENTICATOR_H_
#define MNIST_VIT_SERVER_RPC_AUTHENTICATOR_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/base/clock.h"
#include "server/base/mutex.h"
#include "server/base/rate_limit.h"
#include "server/base/rpc_observer.h"
#include "server/rpc/token_file.h"

namespace vit {

// Who calls, by the token.
struct Caller {
  std::string name;
  uint64_t flow = 0;  // the same for all calls with this token; see FairQueue
  int share = 1;      // see BatchTask
};

// Lets in only calls that bring a token of the file. A thread of its own reads
// the file again once a second, so that it is no matter to the others if the
// disk is slow, and uses it if it has changed. A file that can't be used leaves
// the tokens of before in use.
//
// Thread-safe. Knows no token, only their digests.
class Authenticator {
 public:
  static constexpr Clock::duration kInterval = std::chrono::seconds(1);
  // A longer one is refused before it is looked at.
  static constexpr size_t kMaxTokenLength = 512;

  // A changed file was read: so many tokens are in use; or why not. Called by
  // the thread, once for each change.
  using OnChange = std::function<void(const absl::StatusOr<size_t>& tokens)>;

  // See ParseTokens; also NotFound if the file can't be read. `observer`
  // outlives it. Without an interval there is no thread, for tests.
  static absl::StatusOr<std::unique_ptr<Authenticator>> Open(
      const std::string& path, const std::set<std::string>& methods,
      RpcObserver* observer, OnChange on_change,
      Clock::duration interval = kInterval);

  ~Authenticator();

  Authenticator(const Authenticator&) = delete;
  Authenticator& operator=(const Authenticator&) = delete;

  // Who calls `method`, such as /vit.v1.Classifier/Classify. `authorization`
  // is the header's value, "Bearer TOKEN"; empty if there is none.
  //
  // Unauthenticated without a token that is known; PermissionDenied if it is
  // not for this method; ResourceExhausted, with RetryAfter, if it was used too
  // often. Each is counted. How long that takes says nothing of the tokens.
  absl::StatusOr<Caller> Check(std::string_view authorization,
                               std::string_view method, Clock::time_point now)
      ABSL_LOCKS_EXCLUDED(mutex_);

  // Uses the file if it has changed; what the thread does.
  void Reread() ABSL_LOCKS_EXCLUDED(mutex_, file_mutex_);

 private:
  struct Entry {
    Token token;
    uint64_t flow = 0;
    std::optional<RateLimit> limit;
  };

  Authenticator(std::string path, std::set<std::string> methods,
                RpcObserver* observer, OnChange on_change);

  void Run(Clock::duration interval) ABSL_LOCKS_EXCLUDED(mutex_);
  // Tokens whose rate stays keep what they have used of it.
  void Use(std::vector<Token> tokens) ABSL_LOCKS_EXCLUDED(mutex_);
  Entry* Find(std::string_view authorization)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string path_;
  const std::set<std::string> methods_;
  RpcObserver* const observer_;
  const OnChange on_change_;

  // Held while the file is read, and before the other.
  Mutex file_mutex_;
  // What was read last, whether it could be used or not; or why it couldn't be.
  std::string last_read_ ABSL_GUARDED_BY(file_mutex_);

  Mutex mutex_;
  CondVar changed_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Entry> entries_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_AUTHENTICATOR_H_
