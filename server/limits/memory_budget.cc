#include "server/limits/memory_budget.h"

#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <fstream>
#include <limits>
#include <span>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/limits/control_group.h"

namespace vit {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMiB = 1 << 20;
// Neither gRPC nor Protobuf takes a larger one.
constexpr int64_t kLargestMessage = std::numeric_limits<int32_t>::max();
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

// What is shared out, and how: each kind of thing gets its least count first,
// and then a part of what is left.
struct Kind {
  size_t* count;
  int64_t bytes_each;
  size_t least;
  size_t most;
  int percent;
};

int64_t Bytes(size_t count, int64_t bytes_each) {
  return static_cast<int64_t>(count) * bytes_each;
}

// Returns what the whole budget is: `chosen`, or what the least counts need.
int64_t ShareOut(int64_t chosen, int64_t fixed, std::span<const Kind> kinds) {
  int64_t least = fixed;
  for (const Kind& kind : kinds) least += Bytes(kind.least, kind.bytes_each);
  const int64_t rest = std::max<int64_t>(chosen - least, 0);
  for (const Kind& kind : kinds) {
    const int64_t more = rest / 100 * kind.percent / kind.bytes_each;
    *kind.count = std::min(kind.least + static_cast<size_t>(more), kind.most);
  }
  return least + rest;
}

size_t UsableDescriptors(const MemoryBudgetInput& input) {
  return std::max(input.descriptors, kOwnDescriptors + 16) - kOwnDescriptors;
}

size_t HttpConnections(const MemoryBudgetInput& input) {
  return std::clamp<size_t>(UsableDescriptors(input) / 4, 4, 256);
}

// As many as an operator wants or, with `percent` of what is left, as fit.
Kind Connections(const MemoryBudgetInput& input, int percent,
                 MemoryBudget* budget) {
  const size_t by_descriptors =
      (UsableDescriptors(input) - budget->max_http_connections) /
      kDescriptorsPerConnection;
  const auto wanted = static_cast<size_t>(input.max_connections);
  const size_t least = std::min(wanted > 0 ? wanted : 4, by_descriptors);
  const size_t most =
      wanted > 0 ? least : std::min<size_t>(by_descriptors, 65536);
  return {.count = &budget->max_connections,
          .bytes_each = kConnectionBytes,
          .least = least,
          .most = most,
          .percent = percent};
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
  budget.max_message_bytes =
      std::min(input.max_images_per_call * wire_image + 1024, kLargestMessage);
  budget.max_http_connections = HttpConnections(input);
  const int64_t call_bytes = kCallBytes + wire_image;
  const int64_t stream_bytes =
      budget.max_message_bytes + kStreamImages * (wire_image + 1024);
  const int64_t explanation_bytes = 3 * input.explanation_bytes;
  const int64_t fixed =
      Bytes(budget.max_http_connections, kHttpConnectionBytes) +
      input.max_queue_size * wire_image +
      input.max_explanations * explanation_bytes;
  const std::array kinds = {
      Connections(input, /*percent=*/15, &budget),
      Kind{&budget.max_reading, budget.max_message_bytes, 4, 4096, 20},
      Kind{&budget.max_calls, call_bytes, 64, 65536, 40},
      Kind{&budget.max_streams, stream_bytes, 4, 4096, 20}};
  const int64_t usual = std::min(input.granted / 2, kUsualBudget);
  budget.bytes =
      ShareOut(input.wanted > 0 ? input.wanted : usual, fixed, kinds);
  budget.items = {
      {"connections", budget.max_connections, kConnectionBytes,
       "of gRPC: HTTP/2 state and what was read ahead"},
      {"HTTP connections", budget.max_http_connections, kHttpConnectionBytes,
       "of probes and metrics: header, body, answer"},
      {"half-sent messages", budget.max_reading, budget.max_message_bytes,
       "of unary calls, each as large as the largest request"},
      {"calls", budget.max_calls, call_bytes,
       "unary, with one image and an answer that is not read"},
      {"streams", budget.max_streams, stream_bytes,
       "a half-sent message, images and answers that are not read"},
      {"queue", static_cast<size_t>(input.max_queue_size), wire_image,
       "images that wait"},
      {"explanations", static_cast<size_t>(input.max_explanations),
       explanation_bytes, "attention, its message, its bytes"}};
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
      &text, "%-20s %29.1f MiB  of %.1f MiB, besides models and program\n",
      "sum", static_cast<double>(total()) / kMiB,
      static_cast<double>(bytes) / kMiB);
  return text;
}

}  // namespace vit
