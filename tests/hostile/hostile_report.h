#ifndef MNIST_VIT_TESTS_HOSTILE_HOSTILE_REPORT_H_
#define MNIST_VIT_TESTS_HOSTILE_HOSTILE_REPORT_H_

#include <cstdint>
#include <string>

#include "tests/hostile/bystanders.h"

namespace vit::hostile {

// What one misbehaviour did to the server and to honest peers.
struct HostileReport {
  std::string peer;
  int64_t peak_resident_bytes = 0;
  int peak_threads = 0;
  Experience at_rest = {};
  Experience during = {};
  // Whether the attack was stopped because the server took too much memory.
  bool called_off = false;
  bool died = false;
  int64_t log_bytes = 0;
  // Until a new client was served after the attack; negative if none was in
  // time.
  double recovery_seconds = 0;
  // Of the server after SIGTERM; negative if it went on for the next attack.
  int exit_code = -1;
  double exit_seconds = 0;

  // One row of a Markdown table.
  std::string Row() const;

  // Prints the row, and appends it to the file that VIT_HOSTILE_REPORT names,
  // if it names one; the table's head comes before the first row.
  void Publish() const;
};

}  // namespace vit::hostile

#endif  // MNIST_VIT_TESTS_HOSTILE_HOSTILE_REPORT_H_
