#include "client/eval.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace vit::client {
namespace {

// Labels of IDX files are bytes.
constexpr int kMaxLabel = 255;

absl::StatusOr<int> LabelOf(
    const absl::StatusOr<v1::ClassifyResponse>& response) {
  if (!response.ok()) return response.status();
  const int label = response->label();
  if (label < 0 || label > kMaxLabel) {
    return absl::InternalError(absl::StrCat("the server answered label ", label,
                                            ", expected 0 to ", kMaxLabel));
  }
  return label;
}

// What the callbacks fill while the images are under way.
class Evaluation {
 public:
  Evaluation(int total, const EvalOptions& options)
      : total_(total), options_(options) {
    result_.predictions.assign(total, EvalResult::kNoPrediction);
  }

  // Waits until one more request may be sent.
  void Begin() {
    const absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &Evaluation::HasRoom));
    ++in_flight_;
  }

  void End(int index, double latency_seconds,
           const absl::StatusOr<v1::ClassifyResponse>& response) {
    const absl::StatusOr<int> label = LabelOf(response);
    const absl::MutexLock lock(&mutex_);
    if (label.ok()) {
      result_.predictions[index] = *label;
      result_.latencies_seconds.push_back(latency_seconds);
    } else {
      ++result_.errors[label.status().code()];
      result_.first_error.Update(label.status());
    }
    ++done_;
    if (options_.progress) options_.progress(done_, total_);
    --in_flight_;
  }

  EvalResult Finish() {
    const absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &Evaluation::IsIdle));
    return std::move(result_);
  }

 private:
  bool HasRoom() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return in_flight_ < options_.concurrency;
  }
  bool IsIdle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return in_flight_ == 0;
  }

  const int total_;
  const EvalOptions& options_;

  absl::Mutex mutex_;
  int in_flight_ ABSL_GUARDED_BY(mutex_) = 0;
  int done_ ABSL_GUARDED_BY(mutex_) = 0;
  EvalResult result_ ABSL_GUARDED_BY(mutex_);
};

void CountCorrect(std::span<const uint8_t> labels, EvalResult& result) {
  int classes = 0;
  for (int i = 0; i < result.images(); ++i) {
    classes = std::max({classes, labels[i] + 1, result.predictions[i] + 1});
  }
  result.confusion.assign(classes, std::vector<int>(classes));
  for (int i = 0; i < result.images(); ++i) {
    const int prediction = result.predictions[i];
    if (prediction < 0) continue;
    ++result.confusion[labels[i]][prediction];
    if (prediction == labels[i]) ++result.correct;
  }
}

absl::Status Validate(const IdxImages& images, std::span<const uint8_t> labels,
                      const EvalOptions& options) {
  if (images.count != static_cast<int>(labels.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat(images.count, " images, but ", labels.size(), " labels"));
  }
  if (images.count == 0) return absl::InvalidArgumentError("no images");
  if (options.concurrency < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "concurrency is ", options.concurrency, ", expected at least 1"));
  }
  if (options.limit < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("limit is ", options.limit, ", expected at least 0"));
  }
  return absl::OkStatus();
}

}  // namespace

double EvalResult::accuracy() const {
  return images() == 0 ? 0 : static_cast<double>(correct) / images();
}

double EvalResult::images_per_second() const {
  return elapsed_seconds > 0
             ? static_cast<double>(latencies_seconds.size()) / elapsed_seconds
             : 0;
}

double Quantile(std::span<const double> sorted, double q) {
  if (sorted.empty()) return 0;
  const auto size = static_cast<double>(sorted.size());
  // Without the margin, 0.07 * 100 is 7.000000000000001 and its rank is 8.
  const double rank = std::ceil(q * size - 1e-9);
  return sorted[static_cast<size_t>(std::clamp(rank, 1.0, size)) - 1];
}

absl::StatusOr<EvalResult> Evaluate(const AsyncClassify& classify,
                                    const IdxImages& images,
                                    std::span<const uint8_t> labels,
                                    const EvalOptions& options) {
  if (absl::Status status = Validate(images, labels, options); !status.ok()) {
    return status;
  }
  const int total =
      options.limit == 0 ? images.count : std::min(options.limit, images.count);
  Evaluation evaluation(total, options);
  const absl::Time start = absl::Now();
  for (int i = 0; i < total; ++i) {
    evaluation.Begin();
    const absl::Time sent = absl::Now();
    classify(images.image(i),
             [&evaluation, i,
              sent](const absl::StatusOr<v1::ClassifyResponse>& response) {
               const absl::Duration latency = absl::Now() - sent;
               evaluation.End(i, absl::ToDoubleSeconds(latency), response);
             });
  }
  EvalResult result = evaluation.Finish();
  result.elapsed_seconds = absl::ToDoubleSeconds(absl::Now() - start);
  std::sort(result.latencies_seconds.begin(), result.latencies_seconds.end());
  CountCorrect(labels, result);
  return result;
}

}  // namespace vit::client
