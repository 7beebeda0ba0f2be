#include <gtest/gtest.h>
#include <sys/resource.h>

#include "tests/hostile/scenario.h"

namespace vit::hostile {
namespace {

class KeptServerEnvironment : public ::testing::Environment {
 public:
  void TearDown() override { EndKeptServer(); }
};

// A thousand peers need more descriptors than most systems grant at first.
void AllowManyDescriptors() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

}  // namespace
}  // namespace vit::hostile

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  vit::hostile::AllowManyDescriptors();
  // GoogleTest takes ownership.
  ::testing::AddGlobalTestEnvironment(new vit::hostile::KeptServerEnvironment);
  return RUN_ALL_TESTS();
}
