#ifndef MNIST_VIT_TESTS_SERVER_MODELS_REPOSITORY_FOLDER_H_
#define MNIST_VIT_TESTS_SERVER_MODELS_REPOSITORY_FOLDER_H_

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/integration/temporary_folder.h"

namespace vit::testing {

// A model repository in a temporary folder.
class RepositoryFolder {
 public:
  std::string path() const { return folder_.path(); }
  std::string At(const std::string& name) const { return folder_.File(name); }

  void MakeFolder(const std::string& name) const {
    std::filesystem::create_directories(At(name));
  }

  // Writes a file, and its folders. A new file takes an old one's place, as
  // tools that deploy do it, so that its inode is another.
  void Write(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories(
        std::filesystem::path(At(name)).parent_path());
    const std::string next = At(name) + ".next";
    std::ofstream(next, std::ios::binary) << content;
    std::filesystem::rename(next, At(name));
  }

  // The weights of NAME/VERSION.
  void Put(const std::string& name_and_version,
           const std::string& content) const {
    Write(name_and_version + "/model.safetensors", content);
  }

  void Remove(const std::string& name) const {
    std::filesystem::remove_all(At(name));
  }

 private:
  TemporaryFolder folder_;
};

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_SERVER_MODELS_REPOSITORY_FOLDER_H_
