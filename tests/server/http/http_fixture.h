#ifndef MNIST_VIT_TESTS_SERVER_HTTP_HTTP_FIXTURE_H_
#define MNIST_VIT_TESTS_SERVER_HTTP_HTTP_FIXTURE_H_

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/base/mutex.h"
#include "server/http/http_server.h"
#include "tests/server/http/raw_peer.h"

namespace vit::testing {

// A server with these routes:
//   GET  /hello   answers "hello"
//   POST /echo    answers the body, up to 100 KiB
//   POST /later   keeps the request for the test to answer
class HttpFixture : public ::testing::Test {
 protected:
  struct Kept {
    HttpRequest request;
    HttpResponder respond;
  };

  static constexpr size_t kMostBody = 100 << 10;

  std::vector<HttpRoute> Routes() {
    return {
        {.method = "GET",
         .path = "/hello",
         .handler =
             [](const HttpRequest& /*request*/, const HttpResponder& respond) {
               respond({.body = "hello\n"});
             },
         .is_probe = true},
        {.method = "POST",
         .path = "/echo",
         .handler =
             [](HttpRequest request, const HttpResponder& respond) {
               respond({.body = std::move(request.body)});
             },
         .max_body_bytes = kMostBody},
        {.method = "POST",
         .path = "/later",
         .handler =
             [this](HttpRequest request, HttpResponder respond) {
               MutexLock lock(&mutex_);
               kept_.push_back({std::move(request), std::move(respond)});
               changed_.NotifyAll();
             },
         .max_body_bytes = kMostBody},
    };
  }

  void StartServer(const HttpLimits& limits = {}) { Serve(Routes(), limits); }

  void Serve(std::vector<HttpRoute> routes, const HttpLimits& limits = {}) {
    auto server = HttpServer::Start("127.0.0.1:0", std::move(routes), limits);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  RawPeer Connect() const { return RawPeer(server_->port()); }

  // All that the server says to these bytes, when it closes afterwards.
  std::string AnswerTo(const std::string& text) const {
    RawPeer peer = Connect();
    peer.Send(text);
    return peer.UntilClosed();
  }

  // The oldest request to /later, waited for.
  Kept TakeKept() {
    MutexLock lock(&mutex_);
    while (kept_.empty()) changed_.Wait(&mutex_);
    Kept first = std::move(kept_.front());
    kept_.erase(kept_.begin());
    return first;
  }

  Mutex mutex_;
  CondVar changed_;
  std::vector<Kept> kept_;
  std::unique_ptr<HttpServer> server_;
};

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_SERVER_HTTP_HTTP_FIXTURE_H_
