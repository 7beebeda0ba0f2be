#ifndef MNIST_VIT_SERVER_LIMITS_CPU_QUOTA_H_
#define MNIST_VIT_SERVER_LIMITS_CPU_QUOTA_H_

#include <filesystem>

namespace vit {

// How many CPUs this process is really granted: the least of its affinity mask
// and the CPU quotas of its control group and of those above it (cgroup v2
// cpu.max, v1 cpu.cfs_quota_us), rounded down, at least 1.
//
// More busy threads than this get no more done: a quota lets them all run for
// the first part of each period and stops them for the rest of it.
//
// `root` is where the file system begins, for tests.
int GrantedCpus(const std::filesystem::path& root = "/");

// The quota's part alone, in CPUs, such as 1.5; infinity if there is none.
double CpuQuota(const std::filesystem::path& root = "/");

}  // namespace vit

#endif  // MNIST_VIT_SERVER_LIMITS_CPU_QUOTA_H_
