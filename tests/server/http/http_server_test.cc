#include "server/http/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>

#include "tests/server/http/http_fixture.h"

namespace vit {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::RawPeer;
using ::testing::StartsWith;

constexpr char kHello[] = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";

std::string Post(const std::string& path, const std::string& body) {
  return "POST " + path + " HTTP/1.1\r\nHost: a\r\nContent-Length: " +
         std::to_string(body.size()) + "\r\n\r\n" + body;
}

class HttpServerTest : public testing::HttpFixture {};

TEST_F(HttpServerTest, AnswersAGet) {
  StartServer();
  RawPeer peer = Connect();
  peer.Send(kHello);
  EXPECT_THAT(peer.Answer(),
              AllOf(StartsWith("HTTP/1.1 200 OK\r\n"), HasSubstr("\r\nDate: "),
                    HasSubstr("\r\nContent-Length: 6\r\n"),
                    EndsWith("\r\n\r\nhello\n")));
}

TEST_F(HttpServerTest, KeepsAConnectionForTheNextRequest) {
  StartServer();
  RawPeer peer = Connect();
  for (int i = 0; i < 3; ++i) {
    peer.Send(kHello);
    EXPECT_THAT(peer.Answer(), HasSubstr("Connection: keep-alive"));
  }
  EXPECT_EQ(server_->connections(), 1);
}

TEST_F(HttpServerTest, ClosesWhenAskedTo) {
  StartServer();
  EXPECT_THAT(
      AnswerTo("GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
      AllOf(HasSubstr("Connection: close"), EndsWith("hello\n")));
}

TEST_F(HttpServerTest, ClosesAfterHttp10UnlessAskedToStay) {
  StartServer();
  EXPECT_THAT(AnswerTo("GET /hello HTTP/1.0\r\n\r\n"), EndsWith("hello\n"));
  RawPeer peer = Connect();
  for (int i = 0; i < 2; ++i) {
    peer.Send("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    EXPECT_THAT(peer.Answer(), HasSubstr("Connection: keep-alive"));
  }
}

TEST_F(HttpServerTest, AnswersWhatIsSentAheadInOrder) {
  StartServer();
  RawPeer peer = Connect();
  peer.Send(Post("/echo", "one") + kHello + Post("/echo", "two"));
  EXPECT_THAT(peer.Answer(), EndsWith("\r\n\r\none"));
  EXPECT_THAT(peer.Answer(), EndsWith("\r\n\r\nhello\n"));
  EXPECT_THAT(peer.Answer(), EndsWith("\r\n\r\ntwo"));
}

TEST_F(HttpServerTest, ReadsARequestThatComesByteByByte) {
  StartServer();
  RawPeer peer = Connect();
  for (const char byte : Post("/echo", "drip")) {
    ASSERT_TRUE(peer.Send(std::string(1, byte)));
  }
  EXPECT_THAT(peer.Answer(), EndsWith("\r\n\r\ndrip"));
}

TEST_F(HttpServerTest, ReadsAChunkedBody) {
  StartServer();
  RawPeer peer = Connect();
  peer.Send(
      "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
      "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: t\r\n\r\n");
  EXPECT_THAT(peer.Answer(), EndsWith("\r\n\r\nabcde"));
  peer.Send(kHello);
  EXPECT_THAT(peer.Answer(), EndsWith("hello\n"));
}

TEST_F(HttpServerTest, ReadsTheLargestBodyOfTheRoute) {
  StartServer();
  const std::string body(kMostBody, 'x');
  RawPeer peer = Connect();
  peer.Send(Post("/echo", body));
  EXPECT_THAT(peer.Answer(), EndsWith("\r\n\r\n" + body));
}

TEST_F(HttpServerTest, TellsThePeerToContinueWhenItAsks) {
  StartServer();
  RawPeer peer = Connect();
  peer.Send(
      "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
      "Expect: 100-continue\r\n\r\n");
  EXPECT_EQ(peer.Answer(), "HTTP/1.1 100 Continue\r\n\r\n");
  peer.Send("ok");
  EXPECT_THAT(peer.Answer(), EndsWith("\r\n\r\nok"));
}

TEST_F(HttpServerTest, RefusesInsteadOfContinue) {
  StartServer();
  EXPECT_THAT(AnswerTo("POST /echo HTTP/1.1\r\nHost: a\r\n"
                       "Content-Length: 999999999\r\n"
                       "Expect: 100-continue\r\n\r\n"),
              StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(AnswerTo("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2"
                       "\r\nExpect: a-miracle\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 417 "), HasSubstr("a-miracle")));
}

TEST_F(HttpServerTest, AnswersHeadWithoutTheBody) {
  StartServer();
  EXPECT_THAT(AnswerTo("HEAD /hello HTTP/1.0\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 200 "),
                    HasSubstr("Content-Length: 6\r\n"), EndsWith("\r\n\r\n")));
  EXPECT_THAT(AnswerTo("HEAD /nothing HTTP/1.0\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 404 "), EndsWith("\r\n\r\n")));
}

TEST_F(HttpServerTest, RoutesApartFromTheQuery) {
  StartServer();
  for (const char* target : {"/hello?", "/hello?x=y", "/hello?a=/b?c",
                             "http://host:1/hello", "http://host/hello?x"}) {
    EXPECT_THAT(AnswerTo("GET " + std::string(target) + " HTTP/1.0\r\n\r\n"),
                StartsWith("HTTP/1.1 200 "))
        << target;
  }
}

TEST_F(HttpServerTest, SaysWhichPathsThereAre) {
  StartServer();
  for (const char* target :
       {"/", "/hell", "/helloo", "/hello/", "//hello", "/../hello", "/%68ello",
        "http://host", "/?/hello"}) {
    EXPECT_THAT(
        AnswerTo("GET " + std::string(target) + " HTTP/1.0\r\n\r\n"),
        AllOf(StartsWith("HTTP/1.1 404 "), HasSubstr("/hello, /echo, /later")))
        << target;
  }
}

TEST_F(HttpServerTest, SaysWhichMethodsThereAre) {
  StartServer();
  EXPECT_THAT(AnswerTo("DELETE /hello HTTP/1.1\r\nHost: a\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 405 "),
                    HasSubstr("\r\nAllow: GET, HEAD\r\n")));
  EXPECT_THAT(AnswerTo("GET /echo HTTP/1.1\r\nHost: a\r\n\r\n"),
              AllOf(StartsWith("HTTP/1.1 405 "), HasSubstr("Allow: POST\r\n")));
}

TEST_F(HttpServerTest, RefusesWhatIsMalformed) {
  StartServer();
  for (const char* text : {
           "\x16\x03\x01\x02\x01\x01\r\n\r\n",
           "GET /hello\r\n\r\n",
           "GET /hello HTTP/2.0\r\n\r\n",
           "GET hello HTTP/1.0\r\n\r\n",
           "OPTIONS * HTTP/1.0\r\n\r\n",
           "GET /hello HTTP/1.1\r\n\r\n",                        // no Host
           "GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",  // two
           "GET /hello HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
           "GET /hello HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
           "POST /echo HTTP/1.0\r\nContent-Length: x\r\n\r\n",
           "POST /echo HTTP/1.0\r\nContent-Length: -1\r\n\r\n",
           ("POST /echo HTTP/1.0\r\nContent-Length: 1\r\n"
            "Content-Length: 2\r\n\r\n"),
           ("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n"
            "Transfer-Encoding: chunked\r\n\r\n"),
           "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
           ("POST /echo HTTP/1.1\r\nHost: a\r\n"
            "Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
       }) {
    EXPECT_THAT(AnswerTo(text),
                AllOf(StartsWith("HTTP/1.1 400 "), HasSubstr("close"),
                      Not(HasSubstr("200"))))
        << text;
  }
  EXPECT_THAT(AnswerTo("POST /echo HTTP/1.1\r\nHost: a\r\n"
                       "Transfer-Encoding: gzip\r\n\r\n"),
              StartsWith("HTTP/1.1 501 "));
}

TEST_F(HttpServerTest, HandlersGetTheWholeRequest) {
  StartServer();
  RawPeer peer = Connect();
  peer.Send(
      "POST /later?a=1 HTTP/1.1\r\nHost: me\r\nX-Thing: one\r\n"
      "Content-Length: 3\r\n\r\nabc");
  Kept kept = TakeKept();
  EXPECT_EQ(kept.request.method, "POST");
  EXPECT_EQ(kept.request.path, "/later");
  EXPECT_EQ(kept.request.query, "a=1");
  EXPECT_EQ(kept.request.Header("host"), "me");
  EXPECT_EQ(kept.request.Header("x-thing"), "one");
  EXPECT_EQ(kept.request.Header("none"), "");
  EXPECT_EQ(kept.request.body, "abc");
  EXPECT_THAT(kept.request.peer, StartsWith("127.0.0.1:"));
  EXPECT_TRUE(kept.request.peer_is_local);
  kept.respond({});
}

TEST_F(HttpServerTest, AnswersLaterFromAnotherThread) {
  StartServer();
  RawPeer first = Connect();
  RawPeer second = Connect();
  first.Send(Post("/later", "1"));
  const Kept one = TakeKept();
  second.Send(Post("/later", "2"));
  const Kept two = TakeKept();
  std::thread([&] {
    two.respond({.body = "second"});
    one.respond({.status = 201, .body = "first", .headers = {{"X-A", "b"}}});
  }).join();
  EXPECT_THAT(second.Answer(), EndsWith("second"));
  EXPECT_THAT(first.Answer(),
              AllOf(StartsWith("HTTP/1.1 201 Created"),
                    HasSubstr("\r\nX-A: b\r\n"), EndsWith("first")));
}

TEST_F(HttpServerTest, TheFirstAnswerCounts) {
  StartServer();
  RawPeer peer = Connect();
  peer.Send(Post("/later", ""));
  const Kept kept = TakeKept();
  kept.respond({.body = "first"});
  kept.respond({.body = "second"});
  EXPECT_THAT(peer.Answer(), EndsWith("first"));
  peer.Send(kHello);
  EXPECT_THAT(peer.Answer(), EndsWith("hello\n"));
}

TEST_F(HttpServerTest, ADroppedRequestIsAnswered) {
  StartServer();
  RawPeer peer = Connect();
  peer.Send(Post("/later", ""));
  {
    const Kept dropped = TakeKept();
  }
  EXPECT_THAT(peer.Answer(), StartsWith("HTTP/1.1 500 "));
}

TEST_F(HttpServerTest, SurvivesHandlersThatThrow) {
  Serve({{.method = "GET",
          .path = "/throw",
          .handler =
              [](const HttpRequest&, const HttpResponder&) {
                throw std::runtime_error("secret");
              }},
         {.method = "GET",
          .path = "/memory",
          .handler = [](const HttpRequest&, const HttpResponder&) {
            throw std::bad_alloc();
          }}});
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(AnswerTo("GET /throw HTTP/1.0\r\n\r\n"),
                AllOf(StartsWith("HTTP/1.1 500 "), Not(HasSubstr("secret"))));
    EXPECT_THAT(AnswerTo("GET /memory HTTP/1.0\r\n\r\n"),
                StartsWith("HTTP/1.1 503 "));
  }
}

TEST_F(HttpServerTest, SurvivesPeersThatLeaveBeforeTheAnswer) {
  StartServer();
  {
    RawPeer peer = Connect();
    peer.Send(Post("/later", "x"));
  }
  TakeKept().respond({.body = std::string(1 << 20, 'x')});
  EXPECT_THAT(AnswerTo("GET /hello HTTP/1.0\r\n\r\n"), EndsWith("hello\n"));
}

TEST_F(HttpServerTest, TheEndRefusesWhatIsUnderWay) {
  StartServer();
  RawPeer asked = Connect();
  RawPeer silent = Connect();
  asked.Send(Post("/later", ""));
  const Kept kept = TakeKept();
  silent.Send("GET /hel");
  server_.reset();
  EXPECT_THAT(asked.UntilClosed(), StartsWith("HTTP/1.1 503 "));
  EXPECT_EQ(silent.UntilClosed(), "");
  kept.respond({.body = "too late, and harmless"});
}

TEST_F(HttpServerTest, TheEndSendsTheAnswersThatWereGivenBefore) {
  StartServer();
  RawPeer peer = Connect();
  peer.Send(Post("/later", ""));
  const std::string body(1 << 20, 'x');
  TakeKept().respond({.body = body});
  std::thread end([this] { server_.reset(); });
  EXPECT_THAT(peer.UntilClosed(), EndsWith("\r\n\r\n" + body));
  end.join();
}

TEST_F(HttpServerTest, ATakenPortIsAnError) {
  StartServer();
  const std::string taken = server_->address();
  EXPECT_EQ(taken, "127.0.0.1:" + std::to_string(server_->port()));
  const absl::Status status = HttpServer::Start(taken, {}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(status.message(),
              HasSubstr("cannot listen for HTTP on " + taken + ": "));
}

TEST_F(HttpServerTest, AnAddressOfAnotherFormIsAnError) {
  for (const char* address :
       {"", "8080", ":8080", "unix:", "unix:relative/path"}) {
    EXPECT_EQ(HttpServer::Start(address, {}).status().code(),
              absl::StatusCode::kInvalidArgument)
        << address;
  }
  EXPECT_EQ(
      HttpServer::Start("unix:/" + std::string(200, 'x'), {}).status().code(),
      absl::StatusCode::kInvalidArgument);
}

class UnixSocketTest : public testing::HttpFixture {
 protected:
  // As short as Unix sockets want it.
  const std::string path_ = "/tmp/vit-http-test." + std::to_string(getpid());
  const std::string address_ = "unix:" + path_;
  void TearDown() override { std::filesystem::remove(path_); }
};

TEST_F(UnixSocketTest, ServesAndRemovesItsFile) {
  auto server = HttpServer::Start(address_, Routes());
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ((*server)->port(), 0);
  RawPeer peer(path_);
  peer.Send(Post("/later", ""));
  const Kept kept = TakeKept();
  EXPECT_EQ(kept.request.peer, "unix");
  EXPECT_TRUE(kept.request.peer_is_local);
  kept.respond({.body = "hi"});
  EXPECT_THAT(peer.Answer(), EndsWith("hi"));
  EXPECT_EQ(HttpServer::Start(address_, {}).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_TRUE(std::filesystem::exists(path_));
  server->reset();
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(UnixSocketTest, ReplacesTheFileOfADeadServer) {
  sockaddr_un name{};
  name.sun_family = AF_UNIX;
  path_.copy(name.sun_path, path_.size());
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&name), sizeof(name)), 0);
  close(fd);  // leaves the file
  const auto server = HttpServer::Start(address_, Routes());
  ASSERT_TRUE(server.ok()) << server.status();
  RawPeer peer(path_);
  peer.Send(kHello);
  EXPECT_THAT(peer.Answer(), EndsWith("hello\n"));
}

TEST_F(UnixSocketTest, LeavesAFileAloneThatIsNoSocket) {
  std::FILE* file = std::fopen(path_.c_str(), "w");
  ASSERT_NE(file, nullptr);
  std::fclose(file);
  EXPECT_EQ(HttpServer::Start(address_, {}).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_TRUE(std::filesystem::exists(path_));
}

}  // namespace
}  // namespace vit
