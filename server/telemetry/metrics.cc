#include "server/telemetry/metrics.h"

#include <prometheus/family.h>

#include "server/telemetry/buckets.h"

namespace vit {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;

// The codes that the service's own documentation names; exported as zero from
// the start, so that a rate over the first error is not lost.
constexpr std::array kDocumented = {
    absl::StatusCode::kOk,
    absl::StatusCode::kCancelled,
    absl::StatusCode::kInvalidArgument,
    absl::StatusCode::kDeadlineExceeded,
    absl::StatusCode::kNotFound,
    absl::StatusCode::kResourceExhausted,
    absl::StatusCode::kInternal,
    absl::StatusCode::kUnavailable,
};

// Google's names, as they are in the gRPC documentation.
std::string CodeName(absl::StatusCode code) {
  return absl::StatusCodeToString(code);
}

// In the order of RpcObserver::Rule.
constexpr std::array<const char*, RpcObserver::kRules> kRuleNames = {
    "not_serving", "unknown_method",   "unauthenticated",  "forbidden",
    "rate_limit",  "too_many_calls",   "too_many_streams", "method_busy",
    "malformed",   "no_message",       "message_timeout",  "write_timeout",
    "made_room",   "connection_limit", "memory_pressure",  "stall",
};

prometheus::Gauge* AddGauge(prometheus::Registry* registry, const char* name,
                            const char* help) {
  return &BuildGauge().Name(name).Help(help).Register(*registry).Add({});
}

}  // namespace

const char* MethodName(Method method) {
  switch (method) {
    case Method::kClassify:
      return "Classify";
    case Method::kClassifyBatch:
      return "ClassifyBatch";
    case Method::kClassifyStream:
      return "ClassifyStream";
    case Method::kExplain:
      return "Explain";
  }
  return "";
}

Metrics::Metrics(prometheus::Registry* registry,
                 const std::map<std::string, std::string>& build)
    : families_(registry) {
  AddRequests(registry);
  AddRefusals(registry);
  AddReloads(registry);
  calls_ = AddGauge(registry, "vit_calls_in_flight",
                    "Calls under way, streams and health watches included");
  connections_ =
      AddGauge(registry, "vit_connections", "Open connections of gRPC");
  loop_lag_ = AddGauge(registry, "vit_event_loop_lag_seconds",
                       "How long the slowest event loop took to answer when it "
                       "was last asked");
  oldest_wait_ = AddGauge(registry, "vit_queue_oldest_wait_seconds",
                          "How long the image that waits longest has waited");
  BuildGauge()
      .Name("vit_build_info")
      .Help("How the server was built; always 1")
      .Register(*registry)
      .Add(build)
      .Set(1);
}

void Metrics::AddRequests(prometheus::Registry* registry) {
  auto& requests = BuildCounter()
                       .Name("vit_requests_total")
                       .Help(
                           "Calls answered, by method and status code; of a "
                           "stream, messages answered")
                       .Register(*registry);
  auto& durations = BuildHistogram()
                        .Name("vit_request_duration_seconds")
                        .Help("From a request's arrival to its answer")
                        .Register(*registry);
  for (const Method method : kMethods) {
    PerMethod& mine = methods_[static_cast<size_t>(method)];
    // What is not documented is counted as UNKNOWN rather than lost.
    prometheus::Counter& unknown =
        requests.Add({{"method", MethodName(method)},
                      {"code", CodeName(absl::StatusCode::kUnknown)}});
    mine.requests.fill(&unknown);
    for (const absl::StatusCode code : kDocumented) {
      mine.requests[static_cast<size_t>(code)] = &requests.Add(
          {{"method", MethodName(method)}, {"code", CodeName(code)}});
    }
    mine.duration =
        &durations.Add({{"method", MethodName(method)}}, DurationBuckets());
  }
}

void Metrics::AddRefusals(prometheus::Registry* registry) {
  auto& refused = BuildCounter()
                      .Name("vit_refused_total")
                      .Help(
                          "Calls and connections that were refused or cut "
                          "off before a model had to do with them, by rule")
                      .Register(*registry);
  for (size_t rule = 0; rule < kRules; ++rule) {
    refused_[rule] = &refused.Add({{"rule", kRuleNames[rule]}});
  }
}

void Metrics::AddReloads(prometheus::Registry* registry) {
  auto& reloads = BuildCounter()
                      .Name("vit_model_reloads_total")
                      .Help(
                          "Versions of models that reloads loaded, refused or "
                          "retired; failed: reloads that could not read the "
                          "disk")
                      .Register(*registry);
  loaded_ = &reloads.Add({{"outcome", "loaded"}});
  model_refused_ = &reloads.Add({{"outcome", "refused"}});
  retired_ = &reloads.Add({{"outcome", "retired"}});
  reload_failed_ = &reloads.Add({{"outcome", "failed"}});
}

void Metrics::OnRequest(Method method, absl::StatusCode code,
                        Clock::duration duration) {
  PerMethod& mine = methods_[static_cast<size_t>(method)];
  mine.requests[static_cast<size_t>(code)]->Increment();
  mine.duration->Observe(Seconds(duration));
}

std::shared_ptr<ModelMetrics> Metrics::ForModel(const ModelInfo& model) {
  MutexLock lock(&mutex_);
  std::weak_ptr<ModelMetrics>& known = models_[{model.name, model.version}];
  std::shared_ptr<ModelMetrics> metrics = known.lock();
  if (metrics == nullptr) {
    metrics = std::make_shared<ModelMetrics>(&families_, model);
    known = metrics;
  }
  return metrics;
}

void Metrics::OnHeartbeat(Clock::duration loop_lag,
                          Clock::duration oldest_wait) {
  loop_lag_->Set(Seconds(loop_lag));
  oldest_wait_->Set(Seconds(oldest_wait));
}

void Metrics::OnReload(size_t loaded, size_t refused, size_t retired) {
  loaded_->Increment(static_cast<double>(loaded));
  model_refused_->Increment(static_cast<double>(refused));
  retired_->Increment(static_cast<double>(retired));
}

void Metrics::OnReloadFailed() { reload_failed_->Increment(); }

void Metrics::OnRefused(Rule rule) {
  refused_[static_cast<size_t>(rule)]->Increment();
}

void Metrics::OnCalls(size_t in_flight) {
  calls_->Set(static_cast<double>(in_flight));
}

void Metrics::OnConnections(size_t open) {
  connections_->Set(static_cast<double>(open));
}

}  // namespace vit
