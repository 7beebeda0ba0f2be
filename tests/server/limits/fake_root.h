#ifndef MNIST_VIT_TESTS_SERVER_LIMITS_FAKE_ROOT_H_
#define MNIST_VIT_TESTS_SERVER_LIMITS_FAKE_ROOT_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace vit::testing {

// A file system of a test's own that says what a kernel would.
class FakeRoot : public ::testing::Test {
 protected:
  FakeRoot() {
    std::string name =
        (std::filesystem::temp_directory_path() / "fake_rootXXXXXX").string();
    root_ = mkdtemp(name.data());
  }
  ~FakeRoot() override { std::filesystem::remove_all(root_); }

  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }

  std::filesystem::path root_;
};

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_SERVER_LIMITS_FAKE_ROOT_H_
