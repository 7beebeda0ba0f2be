#ifndef MNIST_VIT_TESTS_BENCHMARKS_OPEN_LOOP_H_
#define MNIST_VIT_TESTS_BENCHMARKS_OPEN_LOOP_H_

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "vit/v1/classifier.grpc.pb.h"

namespace vit {

// Calls of one image each that begin at a rate, whatever becomes of those
// before; where the rate is more than can be sent, as many as can.
class OpenLoop {
 public:
  using Stub = v1::Classifier::Stub;
  static constexpr size_t kCodes = 17;  // grpc::StatusCode, 0 to 16

  // Calls go to the stubs in turn, with this much time to be answered in.
  OpenLoop(std::span<const std::unique_ptr<Stub>> stubs,
           v1::ClassifyRequest request, std::chrono::microseconds deadline);

  // Sends for so long and returns when everything is answered. Once only.
  void Run(double calls_per_second, std::chrono::duration<double> seconds);

  // How many answers had each status.
  const std::array<std::atomic<int64_t>, kCodes>& answers() const {
    return answers_;
  }

  // From the sending of each call with status OK to its answer.
  std::vector<float> LatenciesMs() const;

 private:
  void Send(size_t number);

  const std::span<const std::unique_ptr<Stub>> stubs_;
  const v1::ClassifyRequest request_;
  const std::chrono::microseconds deadline_;
  std::array<std::atomic<int64_t>, kCodes> answers_{};
  // One for each call, in the order in which they are sent; 0 if not OK.
  std::vector<float> latencies_ms_;
  std::atomic<int64_t> unfinished_ = 0;  // calls
};

}  // namespace vit

#endif  // MNIST_VIT_TESTS_BENCHMARKS_OPEN_LOOP_H_
