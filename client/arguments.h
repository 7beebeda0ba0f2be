#ifndef MNIST_VIT_CLIENT_ARGUMENTS_H_
#define MNIST_VIT_CLIENT_ARGUMENTS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/classifier_client.h"
#include "client/commands.h"

// The command line of vit-client.
namespace vit::client {

struct Arguments {
  bool help = false;
  // classify, eval, explain, health or version.
  std::string command;
  ClientOptions client;
  // The one of `command` is filled.
  ClassifyCommand classify;
  EvalCommand eval;
  ExplainCommand explain;
};

// Reads the arguments after the program's name. InvalidArgument, saying what is
// wrong, for a mistake of the user's. To be called once: flags are global.
absl::StatusOr<Arguments> ParseArguments(const std::vector<std::string>& args);

// All commands and flags.
std::string Usage();

}  // namespace vit::client

#endif  // MNIST_VIT_CLIENT_ARGUMENTS_H_
