#include "tests/integration/child_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string_view>

extern char** environ;

namespace vit::testing {
namespace {

using SteadyClock = std::chrono::steady_clock;

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& string : strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Waits until there is something to read, or the end of it; false at
// `deadline`.
bool WaitForInput(int fd, SteadyClock::time_point deadline) {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(
        deadline - SteadyClock::now());
    if (left.count() <= 0) return false;
    pollfd input{.fd = fd, .events = POLLIN, .revents = 0};
    const int count = poll(&input, 1, static_cast<int>(left.count()));
    if (count > 0) return true;
    if (count < 0 && errno != EINTR) return true;  // reading says what it is
  }
}

// The test's environment without the names that `over` sets, and `over`.
std::vector<std::string> Environment(const std::vector<std::string>& over) {
  std::vector<std::string> result = over;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::string_view name = text.substr(0, text.find('=') + 1);
    bool replaced = false;
    for (const std::string& other : over) {
      replaced = replaced || other.starts_with(name);
    }
    if (!replaced) result.emplace_back(text);
  }
  return result;
}

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& arguments,
                           const std::vector<std::string>& environment)
    : name_(arguments[0]) {
  std::array<int, 2> ends;
  if (pipe2(ends.data(), O_CLOEXEC) != 0) {
    ADD_FAILURE() << "pipe2: " << std::strerror(errno);
    return;
  }
  pipe_ = ends[0];
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
  std::vector<std::string> argv = arguments;
  std::vector<std::string> envp = Environment(environment);
  const int error = posix_spawnp(&pid_, argv[0].c_str(), &actions, nullptr,
                                 Pointers(argv).data(), Pointers(envp).data());
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error != 0) {
    pid_ = -1;
    ADD_FAILURE() << "cannot start " << argv[0] << ": " << std::strerror(error);
  }
}

ChildProcess::~ChildProcess() {
  if (pid_ > 0 && !waited_) {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  if (pipe_ >= 0) close(pipe_);
}

void ChildProcess::Signal(int signal) const {
  ASSERT_GT(pid_, 0);
  ASSERT_EQ(kill(pid_, signal), 0) << std::strerror(errno);
}

bool ChildProcess::ReadLine(SteadyClock::time_point deadline,
                            std::string* line) {
  while (true) {
    if (const size_t end = unread_.find('\n'); end != std::string::npos) {
      *line = unread_.substr(0, end + 1);
      unread_.erase(0, end + 1);
      output_ += *line;
      return true;
    }
    if (!WaitForInput(pipe_, deadline)) {
      ADD_FAILURE() << name_ << " said and ended nothing in time; so far:\n"
                    << output_ << unread_;
      return false;
    }
    std::array<char, 4096> buffer;
    const ssize_t count = read(pipe_, buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      output_ += unread_;
      unread_.clear();
      return false;
    }
    unread_.append(buffer.data(), static_cast<size_t>(count));
  }
}

std::string ChildProcess::WaitForLine(const std::string& text) {
  const SteadyClock::time_point deadline = SteadyClock::now() + kPatience;
  std::string line;
  while (ReadLine(deadline, &line)) {
    if (line.find(text) != std::string::npos) return line;
  }
  return "";
}

int ChildProcess::Wait() {
  if (pid_ < 0 || waited_) return exit_status_;
  const SteadyClock::time_point deadline = SteadyClock::now() + kPatience;
  std::string line;
  while (ReadLine(deadline, &line)) {
  }
  // All output is read, so the program has ended or hangs.
  if (SteadyClock::now() >= deadline) kill(pid_, SIGKILL);
  int status = 0;
  waitpid(pid_, &status, 0);
  waited_ = true;
  exit_status_ =
      WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return exit_status_;
}

}  // namespace vit::testing
