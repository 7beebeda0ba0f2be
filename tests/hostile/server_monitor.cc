#include "tests/hostile/server_monitor.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <sstream>
#include <utility>

#include "tests/hostile/limits.h"

namespace vit::hostile {
namespace {

constexpr int kLookEveryMs = 10;
constexpr size_t kLastOutput = 2000;

std::string ProcFile(pid_t pid, const std::string& name) {
  return "/proc/" + std::to_string(pid) + "/" + name;
}

}  // namespace

ServerMonitor::ServerMonitor(pid_t pid)
    : pid_(pid),
      // The pipe's other end, opened again.
      output_(open(ProcFile(pid, "fd/2").c_str(),
                   O_RDONLY | O_NONBLOCK | O_CLOEXEC)),
      thread_([this](const std::stop_token& stop) { Watch(stop); }) {}

ServerMonitor::~ServerMonitor() {
  thread_.request_stop();
  thread_.join();
  if (output_ >= 0) close(output_);
}

void ServerMonitor::ForgetPeaks() {
  // Makes the kernel's high-water mark what is resident now.
  std::ofstream(ProcFile(pid_, "clear_refs")) << "5";
  peak_resident_ = 0;
  peak_threads_ = 0;
  log_bytes_ = 0;
  in_danger_ = false;
}

void ServerMonitor::Watch(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    Look();
    pollfd entry{.fd = output_, .events = POLLIN, .revents = 0};
    if (poll(&entry, 1, kLookEveryMs) > 0) TakeOutput();
  }
  Look();
}

void ServerMonitor::Look() {
  std::ifstream status(ProcFile(pid_, "status"));
  if (!status) dead_ = true;
  std::string line;
  while (std::getline(status, line)) {
    std::istringstream words(line);
    std::string key;
    std::string value;
    words >> key >> value;
    if (key == "State:" && (value == "Z" || value == "X")) {
      dead_ = true;
    } else if (key == "VmHWM:") {
      peak_resident_ =
          std::max<int64_t>(peak_resident_, std::stoll(value) * 1024);
    } else if (key == "VmRSS:") {
      if (std::stoll(value) * 1024 > kCallOffBytes) in_danger_ = true;
    } else if (key == "Threads:") {
      peak_threads_ = std::max(peak_threads_.load(), std::stoi(value));
    }
  }
}

void ServerMonitor::TakeOutput() {
  std::array<char, 16384> buffer;
  const ssize_t count = read(output_, buffer.data(), buffer.size());
  if (count > 0) {
    log_bytes_ += count;
    const std::lock_guard lock(mutex_);
    last_output_.append(buffer.data(), static_cast<size_t>(count));
    if (last_output_.size() > kLastOutput) {
      last_output_.erase(0, last_output_.size() - kLastOutput);
    }
  } else if (count == 0) {  // the server closed it: poll ignores a negative one
    close(std::exchange(output_, -1));
  }
}

std::string ServerMonitor::last_output() const {
  const std::lock_guard lock(mutex_);
  return last_output_;
}

}  // namespace vit::hostile
