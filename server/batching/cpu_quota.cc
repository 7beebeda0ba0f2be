#include "server/batching/cpu_quota.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <string>

namespace vit {
namespace {

namespace fs = std::filesystem;

constexpr double kNoQuota = std::numeric_limits<double>::infinity();

// cgroup v2: "max 100000" or "150000 100000", both in microseconds.
double QuotaV2(const fs::path& directory) {
  std::ifstream file(directory / "cpu.max");
  double quota = 0;
  double period = 0;
  if (!(file >> quota >> period) || period <= 0) return kNoQuota;
  return quota / period;
}

// cgroup v1: a quota of -1 means none.
double QuotaV1(const fs::path& directory) {
  double quota = 0;
  double period = 0;
  std::ifstream(directory / "cpu.cfs_quota_us") >> quota;
  std::ifstream(directory / "cpu.cfs_period_us") >> period;
  if (quota <= 0 || period <= 0) return kNoQuota;
  return quota / period;
}

// The least quota of a group and of all groups above it. A container often sees
// its own group as the top of the mount: then the path that /proc names does
// not exist below it, and the walk comes to the top all the same.
template <typename QuotaOf>
double LeastQuota(const fs::path& mount, const std::string& group,
                  QuotaOf quota_of) {
  double least = quota_of(mount);
  fs::path directory = mount;
  for (const fs::path& part : fs::path(group).relative_path()) {
    directory /= part;
    least = std::min(least, quota_of(directory));
  }
  return least;
}

bool HasController(const std::string& controllers, const std::string& name) {
  return ("," + controllers + ",").find("," + name + ",") != std::string::npos;
}

int AffinityCpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

}  // namespace

double CpuQuota(const fs::path& root) {
  const fs::path mount = root / "sys/fs/cgroup";
  std::ifstream groups(root / "proc/self/cgroup");
  double least = kNoQuota;
  // Lines of the form "hierarchy:controllers:/group"; v2's has no controllers.
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':');
    if (first == std::string::npos) continue;
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const std::string group = line.substr(second + 1);
    if (controllers.empty()) {
      least = std::min(least, LeastQuota(mount, group, QuotaV2));
    } else if (HasController(controllers, "cpu")) {
      least = std::min({least, LeastQuota(mount / "cpu", group, QuotaV1),
                        LeastQuota(mount / controllers, group, QuotaV1)});
    }
  }
  return least;
}

int GrantedCpus(const fs::path& root) {
  const int affinity = AffinityCpus();
  const double quota = CpuQuota(root);
  if (quota >= affinity) return affinity;
  return std::max(1, static_cast<int>(std::floor(quota)));
}

}  // namespace vit
