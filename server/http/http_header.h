#ifndef MNIST_VIT_SERVER_HTTP_HTTP_HEADER_H_
#define MNIST_VIT_SERVER_HTTP_HTTP_HEADER_H_

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>
#include <string>

#include "server/http/http_message.h"
#include "server/http/http_router.h"

namespace vit {

using HttpParser =
    boost::beast::http::request_parser<boost::beast::http::string_body>;

// Why a request is not handled.
struct HttpRefusal {
  int status = 0;
  std::string text;
  HttpFields headers = {};
};

// Judges a header that `parser` has read to its end, without its body. Fills
// `request`, all but body and peer, and `route`, which is `router`'s. Nothing
// if the request may go on.
std::optional<HttpRefusal> TakeHeader(const HttpParser& parser,
                                      const HttpRouter& router,
                                      HttpRequest* request,
                                      const HttpRoute** route);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_HTTP_HTTP_HEADER_H_
