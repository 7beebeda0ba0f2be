// vit-client: the command-line program. --help says what it does.

#include <unistd.h>

#include <iostream>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/arguments.h"
#include "client/commands.h"

namespace vit::client {
namespace {

int Main(const std::vector<std::string>& args) {
  absl::StatusOr<Arguments> arguments = ParseArguments(args);
  if (!arguments.ok()) {
    std::cerr << "vit-client: " << std::string(arguments.status().message())
              << "\nvit-client --help explains all commands and flags.\n";
    return kExitUsage;
  }
  if (!arguments->help.empty()) {
    std::cout << arguments->help;
    return kExitOk;
  }
  const std::string& command = arguments->command;
  if (command == "classify") {
    return RunClassify(arguments->client, arguments->classify, std::cout,
                       std::cerr);
  }
  if (command == "eval") {
    arguments->eval.progress = isatty(STDERR_FILENO) != 0;
    return RunEval(arguments->client, arguments->eval, std::cout, std::cerr);
  }
  if (command == "explain") {
    return RunExplain(arguments->client, arguments->explain, std::cout,
                      std::cerr);
  }
  if (command == "health") {
    return RunHealth(arguments->client, std::cout, std::cerr);
  }
  std::cout << "vit-client " VIT_VERSION "\n";
  return kExitOk;
}

}  // namespace
}  // namespace vit::client

int main(int argc, char** argv) {
  return vit::client::Main(std::vector<std::string>(argv + 1, argv + argc));
}
