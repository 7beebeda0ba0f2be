#ifndef MNIST_VIT_TESTS_INTEGRATION_TEMPORARY_FOLDER_H_
#define MNIST_VIT_TESTS_INTEGRATION_TEMPORARY_FOLDER_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

namespace vit::testing {

// An empty folder that goes, with what is in it, when the object goes.
class TemporaryFolder {
 public:
  TemporaryFolder() : path_(::testing::TempDir() + "vit-XXXXXX") {
    if (mkdtemp(path_.data()) == nullptr) {
      ADD_FAILURE() << "cannot make a folder like " << path_;
    }
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

  // Writes a file and returns its path.
  std::string Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(File(name), std::ios::binary) << bytes;
    return File(name);
  }

 private:
  std::string path_;
};

// All bytes of a file; none if it cannot be read.
inline std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_INTEGRATION_TEMPORARY_FOLDER_H_
