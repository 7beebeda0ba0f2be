#include "server/http/http_responder.h"

#include <atomic>
#include <utility>

namespace vit {

class HttpResponder::Once {
 public:
  explicit Once(std::function<void(HttpResponse)> send)
      : send_(std::move(send)) {}

  ~Once() {
    if (answered_.load()) return;
    try {
      Send({.status = 500,
            .body = "the server dropped the request without an answer\n"});
    } catch (...) {
      // No memory even for the text: the server's answer_timeout ends it.
    }
  }

  Once(const Once&) = delete;
  Once& operator=(const Once&) = delete;

  void Send(HttpResponse response) {
    if (!answered_.exchange(true)) send_(std::move(response));
  }

 private:
  const std::function<void(HttpResponse)> send_;
  std::atomic<bool> answered_{false};
};

HttpResponder::HttpResponder(std::function<void(HttpResponse)> send)
    : once_(std::make_shared<Once>(std::move(send))) {}

void HttpResponder::operator()(HttpResponse response) const noexcept {
  try {
    once_->Send(std::move(response));
  } catch (...) {
    // No memory to hand the answer over: the server's answer_timeout ends it.
  }
}

}  // namespace vit
