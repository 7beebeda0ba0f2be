#ifndef MNIST_VIT_TESTS_BENCHMARKS_LEAST_H_
#define MNIST_VIT_TESTS_BENCHMARKS_LEAST_H_

#include <algorithm>
#include <vector>

namespace vit {

// For benchmark::Benchmark::ComputeStatistics: of several repetitions the one
// that the rest of the machine disturbed least.
inline double Least(const std::vector<double>& times) {
  return *std::min_element(times.begin(), times.end());
}

}  // namespace vit

#endif  // MNIST_VIT_TESTS_BENCHMARKS_LEAST_H_
