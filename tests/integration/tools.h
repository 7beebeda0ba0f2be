#ifndef MNIST_VIT_TESTS_INTEGRATION_TOOLS_H_
#define MNIST_VIT_TESTS_INTEGRATION_TOOLS_H_

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>
#include <string>

namespace vit::testing {

// The path of a program that `scripts/setup test` installs: from the source
// tree, else from PATH. If there is none, the test fails and it is empty.
inline std::string Tool(const std::string& name) {
  const char* const path = std::getenv("PATH");
  std::istringstream folders(VIT_SOURCE_DIR "/build/deps/bin:" +
                             std::string(path == nullptr ? "" : path));
  std::string folder;
  while (std::getline(folders, folder, ':')) {
    folder.append("/").append(name);
    if (access(folder.c_str(), X_OK) == 0) return folder;
  }
  ADD_FAILURE() << "this test needs " << name << ": run scripts/setup test";
  return "";
}

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_INTEGRATION_TOOLS_H_
