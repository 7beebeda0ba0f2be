#ifndef MNIST_VIT_SERVER_RPC_EXECUTOR_LOAD_H_
#define MNIST_VIT_SERVER_RPC_EXECUTOR_LOAD_H_

#include <cstdint>
#include <map>

#include "server/base/clock.h"

namespace vit {

// How busy the threads of gRPC's executor are. gRPC 1.51 moves work there from
// a loop that has other events to report; most of all, the reading of a
// connection whose bytes do not run out. What comes by other connections may
// then wait behind it, although the loops are idle.
//
// It reads /proc/self/task, and finds nothing where that is not to be had.
class ExecutorLoad {
 public:
  // The part of the time since the last call in which the busiest thread ran
  // or waited for a CPU, 0 to 1. The first call returns 0.
  double Measure(Clock::time_point now);

 private:
  void FindThreads();

  // By thread id, for how many nanoseconds it had been busy when last measured.
  std::map<int, int64_t> busy_;
  Clock::time_point measured_;
  int measurements_ = 0;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_EXECUTOR_LOAD_H_
