#include "server/limits/cpu_quota.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>

#include "server/limits/control_group.h"

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

int AffinityCpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

}  // namespace

double CpuQuota(const fs::path& root) {
  return LeastLimit(root, "cpu", QuotaV2, QuotaV1);
}

int GrantedCpus(const fs::path& root) {
  const int affinity = AffinityCpus();
  const double quota = CpuQuota(root);
  if (quota >= affinity) return affinity;
  return std::max(1, static_cast<int>(std::floor(quota)));
}

}  // namespace vit
