#ifndef MNIST_VIT_CLIENT_EVAL_REPORT_H_
#define MNIST_VIT_CLIENT_EVAL_REPORT_H_

#include <string>

#include "absl/status/status.h"
#include "client/eval.h"

namespace vit::client {

// The result for people: accuracy, speed, latency, errors, confusion matrix.
std::string EvalReport(const EvalResult& result);

// The result for programs, one JSON object with the members images, correct,
// accuracy, failed, errors (by the code's name), elapsed_seconds,
// images_per_second, latency_seconds (p50, p90, p99, p99_9, max) and confusion
// (by label, then by prediction).
std::string EvalJson(const EvalResult& result);

// Writes one predicted label a line, in the order of the images; -1 where the
// call failed. Replaces a file that is there.
absl::Status WritePredictions(const EvalResult& result,
                              const std::string& path);

}  // namespace vit::client

#endif  // MNIST_VIT_CLIENT_EVAL_REPORT_H_
