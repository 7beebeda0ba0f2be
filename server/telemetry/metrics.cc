#include "server/telemetry/metrics.h"

#include <prometheus/family.h>

namespace vit {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Histogram;

// From a tenth of a millisecond, about one image's computation, to the longest
// deadline that anyone sets; about three edges a factor of ten, which keeps
// quantiles within the factor that alerts need.
const Histogram::BucketBoundaries kSeconds = {
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02,
    0.05,   0.1,    0.2,    0.5,   1,     2,     5,    10};

const Histogram::BucketBoundaries kBatchSizes = {1,  2,  4,   8,   16,
                                                 32, 64, 128, 256, 512};

// The codes that the service's own documentation names; exported as zero from
// the start, so that a rate over the first error is not lost.
constexpr std::array kDocumented = {
    absl::StatusCode::kOk,
    absl::StatusCode::kCancelled,
    absl::StatusCode::kInvalidArgument,
    absl::StatusCode::kDeadlineExceeded,
    absl::StatusCode::kResourceExhausted,
    absl::StatusCode::kInternal,
    absl::StatusCode::kUnavailable,
};

// Google's names, as they are in the gRPC documentation.
std::string CodeName(absl::StatusCode code) {
  return absl::StatusCodeToString(code);
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

Metrics::Metrics(prometheus::Registry* registry, const ModelInfo& model,
                 const std::map<std::string, std::string>& build) {
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
    mine.duration = &durations.Add({{"method", MethodName(method)}}, kSeconds);
  }

  auto& stages = BuildHistogram()
                     .Name("vit_stage_duration_seconds")
                     .Help(
                         "Where time goes: queue, an image's wait for a "
                         "worker; inference, a batch's computation; "
                         "respond, from there to the answer's hand-over")
                     .Register(*registry);
  queue_ = &stages.Add({{"stage", "queue"}}, kSeconds);
  inference_ = &stages.Add({{"stage", "inference"}}, kSeconds);
  respond_ = &stages.Add({{"stage", "respond"}}, kSeconds);
  batch_size_ = &BuildHistogram()
                     .Name("vit_batch_size")
                     .Help("Images computed together")
                     .Register(*registry)
                     .Add({}, kBatchSizes);
  queue_depth_ = &BuildGauge()
                      .Name("vit_queue_depth")
                      .Help("Images waiting for a worker")
                      .Register(*registry)
                      .Add({});
  cost_per_image_ = &BuildGauge()
                         .Name("vit_batch_image_cost_seconds")
                         .Help(
                             "What each image adds to the time that a worker "
                             "is expected to be busy with a batch; 0: not "
                             "learned yet")
                         .Register(*registry)
                         .Add({});
  cost_per_batch_ = &BuildGauge()
                         .Name("vit_batch_fixed_cost_seconds")
                         .Help(
                             "The part of that time that does not depend on "
                             "the number of images")
                         .Register(*registry)
                         .Add({});
  images_ = &BuildCounter()
                 .Name("vit_images_total")
                 .Help("Images computed")
                 .Register(*registry)
                 .Add({});
  auto& rejected = BuildCounter()
                       .Name("vit_rejected_images_total")
                       .Help(
                           "Images not accepted, because the queue was full or "
                           "they would have been late for their deadline")
                       .Register(*registry);
  full_ = &rejected.Add({{"reason", "full"}});
  late_ = &rejected.Add({{"reason", "late"}});
  auto& dropped = BuildCounter()
                      .Name("vit_dropped_images_total")
                      .Help(
                          "Images accepted but not computed, because the "
                          "deadline passed or the client went away")
                      .Register(*registry);
  expired_ = &dropped.Add({{"reason", "expired"}});
  cancelled_ = &dropped.Add({{"reason", "cancelled"}});
  auto& predictions = BuildCounter()
                          .Name("vit_predictions_total")
                          .Help("Images classified, by predicted label")
                          .Register(*registry);
  for (const std::string& label : model.labels) {
    predictions_.push_back(&predictions.Add({{"label", label}}));
  }
  BuildGauge()
      .Name("vit_model_info")
      .Help("The loaded model; always 1")
      .Register(*registry)
      .Add({{"name", model.name}, {"version", model.version}})
      .Set(1);
  BuildGauge()
      .Name("vit_build_info")
      .Help("How the server was built; always 1")
      .Register(*registry)
      .Add(build)
      .Set(1);
}

void Metrics::OnRequest(Method method, absl::StatusCode code,
                        Clock::duration duration) {
  PerMethod& mine = methods_[static_cast<size_t>(method)];
  mine.requests[static_cast<size_t>(code)]->Increment();
  mine.duration->Observe(Seconds(duration));
}

void Metrics::OnPrediction(int label, Clock::duration respond) {
  predictions_[label]->Increment();
  respond_->Observe(Seconds(respond));
}

void Metrics::OnRejected(Rejection reason, size_t tasks) {
  (reason == Rejection::kFull ? full_ : late_)
      ->Increment(static_cast<double>(tasks));
}

void Metrics::OnQueueDepth(size_t waiting) {
  queue_depth_->Set(static_cast<double>(waiting));
}

void Metrics::OnTaken(Clock::duration queued) {
  queue_->Observe(Seconds(queued));
}

void Metrics::OnDropped(Drop reason) {
  (reason == Drop::kExpired ? expired_ : cancelled_)->Increment();
}

void Metrics::OnBatch(size_t size, Clock::duration inference) {
  batch_size_->Observe(static_cast<double>(size));
  inference_->Observe(Seconds(inference));
  images_->Increment(static_cast<double>(size));
}

void Metrics::OnCost(const BatchCost& cost) {
  cost_per_image_->Set(Seconds(cost.per_image));
  cost_per_batch_->Set(Seconds(cost.per_batch));
}

}  // namespace vit
