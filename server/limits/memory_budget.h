#ifndef MNIST_VIT_SERVER_LIMITS_MEMORY_BUDGET_H_
#define MNIST_VIT_SERVER_LIMITS_MEMORY_BUDGET_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace vit {

// The memory that this process may take, in bytes: the least of the machine's
// and of its control groups' limits (cgroup v2 memory.max, v1
// memory.limit_in_bytes). `root` is where the file system begins, for tests.
int64_t GrantedMemory(const std::filesystem::path& root = "/");

// What this process holds in memory now, in bytes; zero if it is unknown.
int64_t ResidentMemory();

// What the process holds by itself, without what its peers make it hold.
// Thread-safe.
class OwnMemory {
 public:
  // What the process holds now is its own: after a start, or when models have
  // come or gone. Gives unused memory back to the system first.
  void Measure();
  int64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> bytes_{0};
};

// Raises the soft limit of open files to the hard one; returns it.
size_t RaiseDescriptorLimit();

// What a budget is made from.
struct MemoryBudgetInput {
  int64_t granted = 0;  // bytes, of GrantedMemory
  int64_t wanted = 0;   // bytes, of an operator; 0: choose
  size_t descriptors = 1024;
  // Of the largest image that a model takes, and of one explanation.
  int64_t image_bytes = 0;
  int64_t explanation_bytes = 0;
  int64_t max_images_per_call = 0;
  int64_t max_queue_size = 0;
  int64_t max_explanations = 0;
  int64_t max_connections = 0;  // of an operator; 0: choose
};

// What each thing that a peer can make grow may take, and their sum. All limits
// on the way of a request come from here.
//
// The default is half of the granted memory, at most 160 MiB: more serves no
// honest client of a small model, and with it a server that is under attack
// from all sides stays below 256 MiB. It is never less than what the operator's
// choices and a few of everything need, which for large images is much: 256
// images in a call, 1,024 in the queue and the attention of a deep model are
// hundreds of megabytes.
struct MemoryBudget {
  struct Item {
    std::string name;
    size_t count = 0;        // how many of them there may be
    int64_t bytes_each = 0;  // what one takes at most
    std::string comment;

    int64_t bytes() const { return static_cast<int64_t>(count) * bytes_each; }
  };

  int64_t bytes = 0;              // what total() stays within
  int64_t max_message_bytes = 0;  // of one gRPC message
  size_t max_connections = 0;     // of gRPC
  size_t max_http_connections = 0;
  size_t max_calls = 0;    // unary, of all connections
  size_t max_reading = 0;  // calls whose message is half sent
  size_t max_streams = 0;
  std::vector<Item> items;

  int64_t total() const;
  // What gRPC may hold in its own buffers.
  int64_t grpc_quota() const;
  // A table for people, a line an item and the sum.
  std::string ToText() const;
};

// Images of one stream that are under way at once, and what a call costs
// besides its message: our objects, gRPC's, and what its stream may send ahead.
inline constexpr int64_t kStreamImages = 64;
inline constexpr int64_t kCallBytes = (8 << 10) + (16 << 10);

// A pure function.
MemoryBudget MakeMemoryBudget(const MemoryBudgetInput& input);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_LIMITS_MEMORY_BUDGET_H_
