#include "server/http/http_router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vit {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

HttpRouter Router() {
  return HttpRouter({{.method = "GET", .path = "/"},
                     {.method = "GET", .path = "/models/{model}"},
                     {.method = "POST", .path = "/models/{model}"},
                     {.method = "POST", .path = "/models/{model}/run/{run}"},
                     {.method = "GET", .path = "/models/all/run/{run}"}});
}

TEST(HttpRouterTest, FindsTheWholePathOnly) {
  const HttpRouter router = Router();
  EXPECT_NE(router.Find("GET", "/").route, nullptr);
  for (const char* path : {"/models", "/models/", "/models/a/", "/models/a/run",
                           "/models/a/run/", "/models/a/run/b/c", "//"}) {
    const HttpRouter::Match match = router.Find("GET", path);
    EXPECT_EQ(match.route, nullptr) << path;
    EXPECT_EQ(match.allow, "") << path;
  }
}

TEST(HttpRouterTest, NamesTheSegmentsDecoded) {
  const HttpRouter router = Router();
  const HttpRouter::Match match =
      router.Find("POST", "/models/a%20b/run/%2F%e4");
  ASSERT_NE(match.route, nullptr);
  EXPECT_EQ(match.route->path, "/models/{model}/run/{run}");
  EXPECT_THAT(match.parameters,
              ElementsAre(Pair("model", "a b"), Pair("run", "/\xe4")));
}

TEST(HttpRouterTest, TakesTheRouteOfTheMethod) {
  const HttpRouter router = Router();
  EXPECT_EQ(router.Find("GET", "/models/a").route->method, "GET");
  EXPECT_EQ(router.Find("POST", "/models/a").route->method, "POST");
  EXPECT_EQ(router.Find("HEAD", "/models/a").route->method, "GET");
}

TEST(HttpRouterTest, SaysWhatAPathAllows) {
  const HttpRouter router = Router();
  EXPECT_EQ(router.Find("PUT", "/models/a").allow, "GET, HEAD, POST");
  EXPECT_EQ(router.Find("HEAD", "/models/a/run/b").allow, "POST");
  EXPECT_THAT(router.Find("PUT", "/models/a").parameters, IsEmpty());
}

TEST(HttpRouterTest, RefusesMalformedPercents) {
  for (const char* text :
       {"%", "%4", "%4g", "%g4", "a%", "%-1", "%+1", "% 1"}) {
    EXPECT_EQ(PercentDecode(text), std::nullopt) << text;
    EXPECT_EQ(Router().Find("GET", std::string("/models/") + text).route,
              nullptr)
        << text;
  }
  EXPECT_EQ(PercentDecode("a%41%6a"), "aAj");
  EXPECT_EQ(PercentDecode(""), "");
}

TEST(HttpMessageTest, NoHeaderBreaksOutOfItsLine) {
  const std::string head =
      SerializeHead({.content_type = "a\r\nb: c",
                     .headers = {{"X", "y\r\n\r\nbody"}, {"n\na", "v"}}},
                    /*keep_alive=*/false);
  EXPECT_THAT(head, ::testing::HasSubstr("\r\nX: y    body\r\n"));
  EXPECT_THAT(head, ::testing::HasSubstr("Content-Type: a  b: c\r\n"));
  EXPECT_THAT(head, ::testing::HasSubstr("\r\nn a: v\r\n"));
  EXPECT_EQ(head.find("\r\n\r\n"), head.size() - 4);
}

TEST(HttpMessageTest, AnAnswerWithoutContentStatesNoLength) {
  const std::string head = SerializeHead({.status = 204}, /*keep_alive=*/true);
  EXPECT_THAT(head, ::testing::StartsWith("HTTP/1.1 204 No Content\r\n"));
  EXPECT_EQ(head.find("Content-Length"), std::string::npos);
}

}  // namespace
}  // namespace vit
