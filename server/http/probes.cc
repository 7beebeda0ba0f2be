#include "server/http/probes.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/http/metrics_page.h"

namespace vit {

std::vector<HttpRoute> ProbeRoutes(const ServingState* state) {
  const HttpHandler healthz = [](const HttpRequest& /*request*/,
                                 const HttpResponder& respond) {
    respond({.body = "alive\n"});
  };
  const HttpHandler readyz = [state](const HttpRequest& /*request*/,
                                     const HttpResponder& respond) {
    if (state->ready()) return respond({.body = "ready\n"});
    respond({.status = 503,
             .body = absl::StrCat("not ready: ", state->description(), "\n")});
  };
  return {{.method = "GET",
           .path = "/healthz",
           .handler = healthz,
           .is_probe = true},
          {.method = "GET",
           .path = "/readyz",
           .handler = readyz,
           .is_probe = true}};
}

HttpRoute MetricsRoute(
    std::vector<std::shared_ptr<prometheus::Collectable>> collectables,
    Clock::duration interval) {
  const auto page =
      std::make_shared<MetricsPage>(std::move(collectables), interval);
  return {
      .method = "GET",
      .path = "/metrics",
      .handler = [page](const HttpRequest& /*request*/, HttpResponder respond) {
        page->Answer(std::move(respond));
      }};
}

}  // namespace vit
