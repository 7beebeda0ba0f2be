#include "server/rpc/executor_load.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"

namespace vit {
namespace {

namespace fs = std::filesystem;

constexpr char kTasks[] = "/proc/self/task";
// "default-executor", as much of it as the kernel keeps.
constexpr char kName[] = "default-executo";
// New threads are looked for now and then.
constexpr int kMeasurementsPerSearch = 25;

// The thread's run and wait times; see "schedstat" in the kernel's
// Documentation/scheduler/sched-stats.rst. 0 if it has ended.
int64_t BusyNanoseconds(int thread) {
  int64_t run = 0;
  int64_t wait = 0;
  std::ifstream(fs::path(kTasks) / std::to_string(thread) / "schedstat") >>
      run >> wait;
  return run + wait;
}

}  // namespace

double ExecutorLoad::Measure(Clock::time_point now) {
  if (measurements_++ % kMeasurementsPerSearch == 0) FindThreads();
  const auto elapsed = static_cast<double>(
      std::chrono::nanoseconds(now - std::exchange(measured_, now)).count());
  double busiest = 0;
  for (auto& [thread, busy] : busy_) {
    const int64_t before = std::exchange(busy, BusyNanoseconds(thread));
    busiest = std::max(busiest, static_cast<double>(busy - before) / elapsed);
  }
  return std::min(busiest, 1.0);
}

void ExecutorLoad::FindThreads() {
  std::error_code error;
  fs::directory_iterator tasks(kTasks, error);
  for (; !error && tasks != fs::directory_iterator(); tasks.increment(error)) {
    std::string name;
    std::ifstream(tasks->path() / "comm") >> name;
    int thread = 0;
    if (name != kName ||
        !absl::SimpleAtoi(tasks->path().filename().string(), &thread) ||
        busy_.contains(thread)) {
      continue;
    }
    busy_[thread] = BusyNanoseconds(thread);
  }
}

}  // namespace vit
