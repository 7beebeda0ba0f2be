#ifndef MNIST_VIT_SERVER_LIMITS_CONTROL_GROUP_H_
#define MNIST_VIT_SERVER_LIMITS_CONTROL_GROUP_H_

#include <filesystem>
#include <functional>
#include <string>

namespace vit {

// The least limit that a control group and all groups above it set, for one of
// the kernel's controllers, such as "cpu"; infinity if none does.
//
// `limit_v2` and `limit_v1` read one group's folder in either version of the
// kernel's interface and return infinity where it sets no limit. `root` is
// where the file system begins, for tests.
double LeastLimit(
    const std::filesystem::path& root, const std::string& controller,
    const std::function<double(const std::filesystem::path&)>& limit_v2,
    const std::function<double(const std::filesystem::path&)>& limit_v1);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_LIMITS_CONTROL_GROUP_H_
