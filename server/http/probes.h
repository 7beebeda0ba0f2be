#ifndef MNIST_VIT_SERVER_HTTP_PROBES_H_
#define MNIST_VIT_SERVER_HTTP_PROBES_H_

#include <prometheus/collectable.h>

#include <chrono>
#include <memory>
#include <vector>

#include "server/base/clock.h"
#include "server/base/serving_state.h"
#include "server/http/http_router.h"

namespace vit {

// GET /healthz: 200 as long as the process answers.
// GET /readyz:  200 while `state` is ready, else 503 and why.
// `state` outlives the server that has the routes.
std::vector<HttpRoute> ProbeRoutes(const ServingState* state);

// GET /metrics: what the collectables hold when the request comes or later, in
// Prometheus' text format 0.0.4.
//
// A page is written by a thread of its own, at most once in `interval`. The
// requests that come meanwhile wait for the next page and share it. So a lone
// scrape is answered at once, a flood costs no more than ten pages a second,
// and no answer is older than its question. When as many requests wait as a
// flood would bring and a scraper would not, more are refused with 503.
HttpRoute MetricsRoute(
    std::vector<std::shared_ptr<prometheus::Collectable>> collectables,
    Clock::duration interval = std::chrono::milliseconds(100));

}  // namespace vit

#endif  // MNIST_VIT_SERVER_HTTP_PROBES_H_
