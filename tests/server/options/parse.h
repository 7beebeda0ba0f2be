#ifndef MNIST_VIT_TESTS_SERVER_OPTIONS_PARSE_H_
#define MNIST_VIT_TESTS_SERVER_OPTIONS_PARSE_H_

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "server/options/options.h"

namespace vit::testing {

using Variables = std::map<std::string, std::string>;

// ParseOptions with these variables as the whole environment.
inline absl::StatusOr<ParsedOptions> Parse(const std::vector<std::string>& args,
                                           const Variables& variables = {}) {
  std::vector<const char*> pointers;
  for (const std::string& arg : args) pointers.push_back(arg.c_str());
  return ParseOptions(pointers, "1.2.3", [&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

inline std::string Help() {
  return Parse({"--help"}).value_or(ParsedOptions()).text;
}

// A configuration file that is there as long as this.
class ConfigFile {
 public:
  explicit ConfigFile(const std::string& text)
      : path_(::testing::TempDir() + "/vit-options-XXXXXX") {
    const int file = mkstemp(path_.data());
    EXPECT_GE(file, 0);
    close(file);
    std::ofstream(path_) << text;
  }
  ~ConfigFile() { unlink(path_.c_str()); }

  ConfigFile(const ConfigFile&) = delete;
  ConfigFile& operator=(const ConfigFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_SERVER_OPTIONS_PARSE_H_
