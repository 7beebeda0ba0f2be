#ifndef MNIST_VIT_CLIENT_EVAL_H_
#define MNIST_VIT_CLIENT_EVAL_H_

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/classifier_client.h"
#include "client/idx.h"

// Measures a server on a labelled set of images: how often it is right, and how
// fast it answers.
namespace vit::client {

// Classifies one image and calls back exactly once, on any thread.
using AsyncClassify = std::function<void(std::span<const uint8_t> image,
                                         ClassifierClient::ClassifyCallback)>;

struct EvalOptions {
  // Requests in flight at any time, at least 1.
  int concurrency = 64;
  // Images to classify from the first on; 0 means all.
  int limit = 0;
  // Called after each answer with the number of answers so far and the number
  // of images, from one thread at a time; may be empty.
  std::function<void(int done, int total)> progress;
};

struct EvalResult {
  static constexpr int kNoPrediction = -1;

  // The predicted label of each image, kNoPrediction where the call failed.
  std::vector<int> predictions;
  int correct = 0;
  // confusion[label][prediction] counts images; square, one row a class.
  std::vector<std::vector<int>> confusion;
  // From sending a request to its answer, of the calls that succeeded, sorted.
  std::vector<double> latencies_seconds;
  // From the first request to the last answer.
  double elapsed_seconds = 0;
  std::map<absl::StatusCode, int> errors;
  // The message of one of the errors, or OK.
  absl::Status first_error;

  int images() const { return static_cast<int>(predictions.size()); }
  int failed() const {
    return images() - static_cast<int>(latencies_seconds.size());
  }
  // Of all images, so that a failed call counts as wrong; 0 without images.
  double accuracy() const;
  // Answers a second; 0 without images.
  double images_per_second() const;
};

// The smallest of `sorted` that at least the part `q` (0 to 1) of them does not
// exceed (the nearest rank, no interpolation); 0 if it is empty.
double Quantile(std::span<const double> sorted, double q);

// Classifies the images, keeping options.concurrency requests in flight.
// Returns when all are answered; a failed call is counted, not an error.
//
// InvalidArgument if there are fewer or more labels than images, no images, or
// an option is out of its range.
absl::StatusOr<EvalResult> Evaluate(const AsyncClassify& classify,
                                    const IdxImages& images,
                                    std::span<const uint8_t> labels,
                                    const EvalOptions& options);

}  // namespace vit::client

#endif  // MNIST_VIT_CLIENT_EVAL_H_
