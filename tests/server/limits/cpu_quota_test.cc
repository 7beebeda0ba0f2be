#include "server/limits/cpu_quota.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/server/limits/fake_root.h"

namespace vit {
namespace {

using CpuQuotaTest = testing::FakeRoot;

TEST_F(CpuQuotaTest, NoControlGroupMeansNoQuota) {
  EXPECT_TRUE(std::isinf(CpuQuota(root_)));
}

TEST_F(CpuQuotaTest, MaxMeansNoQuota) {
  Write("proc/self/cgroup", "0::/job\n");
  Write("sys/fs/cgroup/job/cpu.max", "max 100000\n");
  EXPECT_TRUE(std::isinf(CpuQuota(root_)));
}

TEST_F(CpuQuotaTest, TheQuotaOfTheOwnGroupCounts) {
  Write("proc/self/cgroup", "0::/job\n");
  Write("sys/fs/cgroup/job/cpu.max", "150000 100000\n");
  EXPECT_DOUBLE_EQ(CpuQuota(root_), 1.5);
}

TEST_F(CpuQuotaTest, TheLeastQuotaOfAllGroupsAboveCounts) {
  Write("proc/self/cgroup", "0::/pod/container\n");
  Write("sys/fs/cgroup/pod/cpu.max", "50000 100000\n");
  Write("sys/fs/cgroup/pod/container/cpu.max", "400000 100000\n");
  EXPECT_DOUBLE_EQ(CpuQuota(root_), 0.5);
}

TEST_F(CpuQuotaTest, AContainerThatSeesItsGroupAtTheTopIsUnderstood) {
  Write("proc/self/cgroup", "0::/../../pod/container\n");
  Write("sys/fs/cgroup/cpu.max", "100000 100000\n");
  EXPECT_DOUBLE_EQ(CpuQuota(root_), 1.0);
}

TEST_F(CpuQuotaTest, TheFirstVersionOfControlGroupsIsUnderstood) {
  Write("proc/self/cgroup", "5:memory:/job\n4:cpu,cpuacct:/job\n");
  Write("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "250000\n");
  Write("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
  EXPECT_DOUBLE_EQ(CpuQuota(root_), 2.5);
}

TEST_F(CpuQuotaTest, MinusOneMeansNoQuotaInTheFirstVersion) {
  Write("proc/self/cgroup", "4:cpu:/\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  Write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_TRUE(std::isinf(CpuQuota(root_)));
}

TEST_F(CpuQuotaTest, LessThanOneCpuGrantsOneThread) {
  Write("proc/self/cgroup", "0::/job\n");
  Write("sys/fs/cgroup/job/cpu.max", "10000 100000\n");
  EXPECT_EQ(GrantedCpus(root_), 1);
}

TEST_F(CpuQuotaTest, NoMoreThanTheAffinityIsGranted) {
  const int affinity = GrantedCpus(root_);
  EXPECT_GE(affinity, 1);
  Write("proc/self/cgroup", "0::/job\n");
  Write("sys/fs/cgroup/job/cpu.max", "100000000 100000\n");
  EXPECT_EQ(GrantedCpus(root_), affinity);
}

}  // namespace
}  // namespace vit
