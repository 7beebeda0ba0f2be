#ifndef MNIST_VIT_SERVER_TELEMETRY_LOG_H_
#define MNIST_VIT_SERVER_TELEMETRY_LOG_H_

#include <cstdio>
#include <string>

namespace vit {

// Writes one line to standard error, whole, whichever thread calls. For what
// an operator should know of starting and stopping; not on the way of a
// request.
inline void Log(const std::string& line) {
  const std::string ended = line + "\n";
  std::fwrite(ended.data(), 1, ended.size(), stderr);
}

}  // namespace vit

#endif  // MNIST_VIT_SERVER_TELEMETRY_LOG_H_
