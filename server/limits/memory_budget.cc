#include "server/limits/memory_budget.h"

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/limits/control_group.h"

namespace vit {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kUsualBudget = 160 * kMiB;
// A connection of gRPC with its HTTP/2 state and what it has read ahead.
constexpr int64_t kConnectionBytes = 64 << 10;
// A connection of HTTP, as HttpLimits bounds it without a body.
constexpr int64_t kHttpConnectionBytes = 80 << 10;
// Descriptors that are neither gRPC's nor HTTP's connections.
constexpr size_t kOwnDescriptors = 40;
// Of gRPC's connections, each has two: see ConnectionAcceptor.
constexpr size_t kDescriptorsPerConnection = 2;

double FirstNumber(const fs::path& file) {
  double number = 0;
  if (std::ifstream(file) >> number && number > 0) return number;
  return std::numeric_limits<double>::infinity();  // "max", or no such file
}

int64_t MachineMemory() {
  return int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
}

// How many of this size fit into a part of the budget.
size_t Fit(int64_t budget, int percent, int64_t bytes_each, size_t least,
           size_t most) {
  const int64_t fit = budget * percent / 100 / bytes_each;
  return std::clamp(static_cast<size_t>(fit), least, most);
}

void ChooseConnections(const MemoryBudgetInput& input, int64_t bytes,
                       MemoryBudget* budget) {
  const size_t usable =
      std::max(input.descriptors, kOwnDescriptors + 16) - kOwnDescriptors;
  budget->max_http_connections = std::clamp<size_t>(usable / 4, 4, 256);
  const size_t by_descriptors =
      (usable - budget->max_http_connections) / kDescriptorsPerConnection;
  const size_t chosen =
      input.max_connections > 0
          ? static_cast<size_t>(input.max_connections)
          : Fit(bytes, /*percent=*/15, kConnectionBytes, 4, 65536);
  budget->max_connections = std::min(chosen, by_descriptors);
}

}  // namespace

int64_t GrantedMemory(const fs::path& root) {
  const double limit = LeastLimit(
      root, "memory",
      [](const fs::path& group) { return FirstNumber(group / "memory.max"); },
      [](const fs::path& group) {
        return FirstNumber(group / "memory.limit_in_bytes");
      });
  const int64_t machine = MachineMemory();
  if (limit >= static_cast<double>(machine)) return machine;
  return static_cast<int64_t>(limit);
}

int64_t ResidentMemory() {
  int64_t pages = 0;
  int64_t resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

void OwnMemory::Measure() {
  malloc_trim(0);
  bytes_.store(ResidentMemory(), std::memory_order_relaxed);
}

size_t RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  if (limit.rlim_cur < limit.rlim_max) {
    rlimit raised = limit;
    raised.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return static_cast<size_t>(limit.rlim_cur);
}

MemoryBudget MakeMemoryBudget(const MemoryBudgetInput& input) {
  MemoryBudget budget;
  // An image, and its tag and length.
  const int64_t wire_image = input.image_bytes + 16;
  budget.max_message_bytes = input.max_images_per_call * wire_image + 1024;
  const int64_t least = 8 * budget.max_message_bytes;
  const int64_t usual = std::min(input.granted / 2, kUsualBudget);
  const int64_t bytes =
      std::max(input.wanted > 0 ? input.wanted : usual, least);
  ChooseConnections(input, bytes, &budget);
  budget.max_reading =
      Fit(bytes, /*percent=*/25, budget.max_message_bytes, 4, 4096);
  const int64_t call_bytes = kCallBytes + wire_image;
  budget.max_calls = Fit(bytes, /*percent=*/15, call_bytes, 64, 65536);
  const int64_t stream_bytes =
      budget.max_message_bytes + kStreamImages * (wire_image + 1024);
  budget.max_streams = Fit(bytes, /*percent=*/20, stream_bytes, 4, 4096);
  budget.items = {
      {"connections", budget.max_connections, kConnectionBytes,
       "of gRPC: HTTP/2 state and what was read ahead"},
      {"HTTP connections", budget.max_http_connections, kHttpConnectionBytes,
       "of probes, metrics and REST: header, body, answer"},
      {"half-sent messages", budget.max_reading, budget.max_message_bytes,
       "of unary calls, each as large as the largest request"},
      {"calls", budget.max_calls, call_bytes,
       "unary, with one image and an answer that is not read"},
      {"streams", budget.max_streams, stream_bytes,
       "a half-sent message, images and answers that are not read"},
      {"queue", static_cast<size_t>(input.max_queue_size), wire_image,
       "images that wait"},
      {"explanations", static_cast<size_t>(input.max_explanations),
       3 * input.explanation_bytes, "attention, its message, its bytes"}};
  return budget;
}

int64_t MemoryBudget::total() const {
  int64_t sum = 0;
  for (const Item& item : items) sum += item.bytes();
  return sum;
}

int64_t MemoryBudget::grpc_quota() const {
  return static_cast<int64_t>(max_connections) * kConnectionBytes +
         static_cast<int64_t>(max_reading + max_streams) * max_message_bytes +
         static_cast<int64_t>(max_calls) * kCallBytes;
}

std::string MemoryBudget::ToText() const {
  std::string text;
  for (const Item& item : items) {
    absl::StrAppendFormat(&text, "%-20s %6d x %9d B = %8.1f MiB  %s\n",
                          item.name, item.count, item.bytes_each,
                          static_cast<double>(item.bytes()) / kMiB,
                          item.comment);
  }
  absl::StrAppendFormat(
      &text, "%-20s %29.1f MiB  besides the models and the program\n", "sum",
      static_cast<double>(total()) / kMiB);
  return text;
}

}  // namespace vit
