#ifndef MNIST_VIT_SERVER_OPTIONS_HELP_H_
#define MNIST_VIT_SERVER_OPTIONS_HELP_H_

#include <string>

namespace vit {

// Every option with its range, default and variable, in lines of at most 80
// columns.
std::string HelpText();

// "; did you mean NAME?" with the option whose name is nearest to `name`, which
// may be spelt with dashes; empty if none is near.
std::string Suggestion(const std::string& name);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_OPTIONS_HELP_H_
