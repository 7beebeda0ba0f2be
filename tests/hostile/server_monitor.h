#ifndef MNIST_VIT_TESTS_HOSTILE_SERVER_MONITOR_H_
#define MNIST_VIT_TESTS_HOSTILE_SERVER_MONITOR_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>

namespace vit::hostile {

// Watches a server's process, by what /proc says of it, on a thread of its own;
// and takes the server's output meanwhile, so that a server that is made to log
// much is not stopped by a full pipe. Thread-safe.
class ServerMonitor {
 public:
  // The server must be a child whose standard error is a pipe.
  explicit ServerMonitor(pid_t pid);
  ~ServerMonitor();

  ServerMonitor(const ServerMonitor&) = delete;
  ServerMonitor& operator=(const ServerMonitor&) = delete;

  // Starts to look for the peaks anew.
  void ForgetPeaks();

  // The most that was resident at once since ForgetPeaks: the kernel's own
  // account, which misses nothing between two looks.
  int64_t peak_resident_bytes() const { return peak_resident_; }
  int peak_threads() const { return peak_threads_; }

  // Whether the process takes more memory than the machine can bear.
  bool in_danger() const { return in_danger_; }
  bool dead() const { return dead_; }

  // What the server wrote since ForgetPeaks, and the end of it.
  int64_t log_bytes() const { return log_bytes_; }
  std::string last_output() const;

 private:
  void Watch(const std::stop_token& stop);
  void Look();
  void TakeOutput();

  const pid_t pid_;
  int output_;  // of the thread alone, after construction
  std::atomic<int64_t> peak_resident_ = 0;
  std::atomic<int> peak_threads_ = 0;
  std::atomic<bool> in_danger_ = false;
  std::atomic<bool> dead_ = false;
  std::atomic<int64_t> log_bytes_ = 0;
  mutable std::mutex mutex_;
  std::string last_output_;  // guarded by mutex_
  std::jthread thread_;
};

}  // namespace vit::hostile

#endif  // MNIST_VIT_TESTS_HOSTILE_SERVER_MONITOR_H_
