#ifndef MNIST_VIT_SERVER_OPTIONS_CONFIG_FILE_H_
#define MNIST_VIT_SERVER_OPTIONS_CONFIG_FILE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace vit {

// A line `key: value` of the configuration file.
struct ConfigLine {
  std::string key;
  std::string value;
  bool quoted = false;  // so it is text, whatever it looks like
  int line = 0;         // from 1
};

// Reads a file of flat YAML. It doesn't know which keys there are.
//
// NotFound if the file cannot be read; InvalidArgument if it is longer than a
// mebibyte, is no YAML, holds anything but keys with one value each, or a key
// twice. The message names the file, the line and, if there is one, the key.
absl::StatusOr<std::vector<ConfigLine>> ReadConfigFile(const std::string& path);

// "FILE:LINE key KEY", for messages.
std::string ConfigSource(const std::string& path, const ConfigLine& line);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_OPTIONS_CONFIG_FILE_H_
