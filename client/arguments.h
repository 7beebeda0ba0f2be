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
  // What --help asks for, to be printed instead of running the command. Empty
  // otherwise.
  std::string help;
  // classify, eval, explain, health or version.
  std::string command;
  ClientOptions client;
  // The one of `command` is filled.
  ClassifyCommand classify;
  EvalCommand eval;
  ExplainCommand explain;
};

// Reads the arguments after the program's name. InvalidArgument, saying what is
// wrong, for a mistake of the user's. Thread-safe.
absl::StatusOr<Arguments> ParseArguments(const std::vector<std::string>& args);

}  // namespace vit::client

#endif  // MNIST_VIT_CLIENT_ARGUMENTS_H_
