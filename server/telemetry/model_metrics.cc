#include "server/telemetry/model_metrics.h"

#include <string>
#include <utility>

#include "server/telemetry/buckets.h"

namespace vit {
namespace {

using prometheus::BuildCounter;
using prometheus::BuildGauge;
using prometheus::BuildHistogram;
using prometheus::Histogram;
using prometheus::Labels;

Histogram::BucketBoundaries BatchSizes() {
  return {1, 2, 4, 8, 16, 32, 64, 128, 256, 512};
}

prometheus::Family<prometheus::Counter>& Counters(
    prometheus::Registry* registry, const char* name, const char* help) {
  return BuildCounter().Name(name).Help(help).Register(*registry);
}

prometheus::Family<prometheus::Gauge>& Gauges(prometheus::Registry* registry,
                                              const char* name,
                                              const char* help) {
  return BuildGauge().Name(name).Help(help).Register(*registry);
}

prometheus::Family<Histogram>& Histograms(prometheus::Registry* registry,
                                          const char* name, const char* help) {
  return BuildHistogram().Name(name).Help(help).Register(*registry);
}

}  // namespace

ModelFamilies::ModelFamilies(prometheus::Registry* registry)
    : stages(Histograms(registry, "vit_stage_duration_seconds",
                        "Where time goes: queue, an image's wait for a "
                        "worker; inference, a batch's computation; "
                        "respond, from there to the answer's hand-over")),
      batch_size(
          Histograms(registry, "vit_batch_size", "Images computed together")),
      queue_depth(
          Gauges(registry, "vit_queue_depth", "Images waiting for a worker")),
      cost_per_image(Gauges(
          registry, "vit_batch_image_cost_seconds",
          "What each image adds to the time that a worker is expected to be "
          "busy with a batch; 0: not learned yet")),
      cost_per_batch(Gauges(registry, "vit_batch_fixed_cost_seconds",
                            "The part of that time that does not depend on "
                            "the number of images")),
      info(Gauges(registry, "vit_model_info", "A served model; always 1")),
      images(Counters(registry, "vit_images_total", "Images computed")),
      failed(Counters(registry, "vit_failed_images_total",
                      "Images taken whose batch failed")),
      batches(Counters(registry, "vit_batches_total",
                       "Batches computed, by why they left the queue: full, "
                       "the delay was over, a worker was free, or the image "
                       "was computed where it came in")),
      rejected(Counters(registry, "vit_rejected_images_total",
                        "Images not computed, because the queue was full, "
                        "they would have been late for their deadline, or "
                        "clients with a smaller share came")),
      dropped(Counters(registry, "vit_dropped_images_total",
                       "Images accepted but not computed, because the "
                       "deadline passed or the client went away")),
      predictions(Counters(registry, "vit_predictions_total",
                           "Images classified, by predicted label")) {}

ModelMetrics::ModelMetrics(ModelFamilies* families, const ModelInfo& model)
    : model_({{"model", model.name}, {"version", model.version}}),
      queue_(Add(families->stages, {{"stage", "queue"}}, DurationBuckets())),
      inference_(
          Add(families->stages, {{"stage", "inference"}}, DurationBuckets())),
      respond_(
          Add(families->stages, {{"stage", "respond"}}, DurationBuckets())),
      batch_size_(Add(families->batch_size, {}, BatchSizes())),
      queue_depth_(Add(families->queue_depth, {})),
      cost_per_image_(Add(families->cost_per_image, {})),
      cost_per_batch_(Add(families->cost_per_batch, {})),
      images_(Add(families->images, {})),
      failed_(Add(families->failed, {})),
      batches_{Add(families->batches, {{"reason", "full"}}),
               Add(families->batches, {{"reason", "delay_over"}}),
               Add(families->batches, {{"reason", "worker_free"}}),
               Add(families->batches, {{"reason", "inline"}})},
      rejected_{Add(families->rejected, {{"reason", "full"}}),
                Add(families->rejected, {{"reason", "late"}}),
                Add(families->rejected, {{"reason", "displaced"}})},
      dropped_{Add(families->dropped, {{"reason", "expired"}}),
               Add(families->dropped, {{"reason", "cancelled"}})} {
  for (const std::string& label : model.labels) {
    predictions_.push_back(Add(families->predictions, {{"label", label}}));
  }
  Add(families->info, {})->Set(1);
}

ModelMetrics::~ModelMetrics() {
  for (const std::function<void()>& remove : removers_) remove();
}

template <typename Metric, typename... Arguments>
Metric* ModelMetrics::Add(prometheus::Family<Metric>& family,
                          const Labels& labels, Arguments&&... arguments) {
  Labels all = model_;
  all.insert(labels.begin(), labels.end());
  Metric* metric = &family.Add(all, std::forward<Arguments>(arguments)...);
  removers_.emplace_back([&family, metric] { family.Remove(metric); });
  return metric;
}

void ModelMetrics::OnRejected(Rejection reason, size_t tasks) {
  rejected_[static_cast<size_t>(reason)]->Increment(static_cast<double>(tasks));
}

void ModelMetrics::OnQueueDepth(size_t waiting) {
  queue_depth_->Set(static_cast<double>(waiting));
}

void ModelMetrics::OnTaken(Clock::duration queued) {
  queue_->Observe(Seconds(queued));
}

void ModelMetrics::OnDropped(Drop reason) {
  dropped_[static_cast<size_t>(reason)]->Increment();
}

void ModelMetrics::OnBatch(size_t size, Clock::duration inference,
                           Leaving leaving) {
  batch_size_->Observe(static_cast<double>(size));
  inference_->Observe(Seconds(inference));
  images_->Increment(static_cast<double>(size));
  batches_[static_cast<size_t>(leaving)]->Increment();
}

void ModelMetrics::OnBatchFailed(size_t size) {
  failed_->Increment(static_cast<double>(size));
}

void ModelMetrics::OnPrediction(int label, Clock::duration respond) {
  predictions_[label]->Increment();
  respond_->Observe(Seconds(respond));
}

void ModelMetrics::OnCost(Clock::duration per_image,
                          Clock::duration per_batch) {
  cost_per_image_->Set(Seconds(per_image));
  cost_per_batch_->Set(Seconds(per_batch));
}

}  // namespace vit
