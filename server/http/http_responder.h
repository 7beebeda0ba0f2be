#ifndef MNIST_VIT_SERVER_HTTP_HTTP_RESPONDER_H_
#define MNIST_VIT_SERVER_HTTP_HTTP_RESPONDER_H_

#include <functional>
#include <memory>

#include "server/http/http_message.h"

namespace vit {

// Answers one request, now or later, from any thread. Copies answer the same
// request. The first answer counts, and later ones are dropped. If all copies
// are destroyed without an answer, the peer gets 500. Nothing happens if the
// peer or the whole server has gone. Thread-safe.
class HttpResponder {
 public:
  // `send` is called once, by whoever answers.
  explicit HttpResponder(std::function<void(HttpResponse)> send);

  void operator()(HttpResponse response) const noexcept;

 private:
  class Once;
  std::shared_ptr<Once> once_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_HTTP_HTTP_RESPONDER_H_
