#ifndef MNIST_VIT_TESTS_INTEGRATION_CHILD_PROCESS_H_
#define MNIST_VIT_TESTS_INTEGRATION_CHILD_PROCESS_H_

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

namespace vit::testing {

// A program that a test started. Its standard output and standard error come
// through one pipe, which is read as the test asks for lines: a program that
// writes more than a pipe holds (64 KiB) waits for that. Killed, if it still
// runs, when the object goes. Not thread-safe.
class ChildProcess {
 public:
  // The longest that WaitForLine or Wait takes: then the test fails, and Wait
  // kills the program.
  static constexpr std::chrono::seconds kPatience{60};

  // Starts arguments[0], looked up in PATH. The environment is the test's, with
  // `environment` ("NAME=value") put over it. A failed start fails the test.
  explicit ChildProcess(const std::vector<std::string>& arguments,
                        const std::vector<std::string>& environment = {});
  ~ChildProcess();

  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }

  // Sends a signal, such as SIGTERM.
  void Signal(int signal) const;

  // Reads output up to a line that contains `text` and returns that line; an
  // empty string if the program ended without it.
  std::string WaitForLine(const std::string& text);

  // Reads output to its end, waits for the program to end and returns its exit
  // status, or 128 + the signal that ended it.
  int Wait();

  // All output read so far.
  const std::string& output() const { return output_; }

 private:
  // Reads one more line, with its end; false at the end of the output, or at
  // `deadline`, which fails the test.
  bool ReadLine(std::chrono::steady_clock::time_point deadline,
                std::string* line);

  const std::string name_;
  pid_t pid_ = -1;
  bool waited_ = false;
  int exit_status_ = -1;
  int pipe_ = -1;
  std::string unread_;  // read from the pipe, not yet given as a line
  std::string output_;
};

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_INTEGRATION_CHILD_PROCESS_H_
