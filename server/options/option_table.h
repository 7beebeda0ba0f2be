#ifndef MNIST_VIT_SERVER_OPTIONS_OPTION_TABLE_H_
#define MNIST_VIT_SERVER_OPTIONS_OPTION_TABLE_H_

#include <span>
#include <string>
#include <variant>

#include "absl/status/status.h"
#include "server/options/options.h"

// The one table of all options. The command line, the environment, the file
// and the help all follow from it. To add an option, add a member to
// ServerOptions and an entry to the table.
namespace vit {

// Which texts are a value.
enum class OptionForm {
  kAnyText,
  kText,          // not empty
  kAddress,       // host:port, [IPv6]:port or unix:/path
  kAddressOrOff,  // the same, or empty
  kChoice,        // one of OptionSpec::choices
  kInteger,       // from OptionSpec::low to OptionSpec::high
  kSwitch         // true or false
};

struct OptionSpec {
  const char* name;
  std::variant<std::string ServerOptions::*, int ServerOptions::*,
               bool ServerOptions::*>
      member;
  OptionForm form;
  const char* help;
  // What the help shows as the value: FILE, SECONDS, IMAGES.
  const char* unit;
  int low = 0;
  int high = 0;
  std::span<const char* const> choices = {};
};

struct OptionGroup {
  const char* title;
  std::span<const OptionSpec> options;
};

std::span<const OptionGroup> OptionGroups();

// nullptr if there is no such option.
const OptionSpec* FindOption(const std::string& name);

// VIT_ and the name in capitals.
std::string VariableName(const std::string& name);

// What a value looks like, such as "0 to 1024".
std::string ExpectedValue(const OptionSpec& spec);

// The value in `options`, as SetOption reads it.
std::string ValueText(const OptionSpec& spec, const ServerOptions& options);

// Sets the option, or returns InvalidArgument, "expected ..., found ...", and
// leaves it as it was.
absl::Status SetOption(const OptionSpec& spec, const std::string& text,
                       ServerOptions& options);

// "expected ..., found ..."; `found` is quoted, without control characters.
absl::Status WrongValue(const OptionSpec& spec, const std::string& found);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_OPTIONS_OPTION_TABLE_H_
