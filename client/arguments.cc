#include "client/arguments.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <utility>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/flag.h"
#include "absl/flags/reflection.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"

ABSL_FLAG(std::string, server, "localhost:50051",
          "where the servers are: host:port, dns:///host:port or "
          "ipv4:a:port,b:port");
ABSL_FLAG(std::string, address, "", "the same as --server");
ABSL_FLAG(int, deadline_ms, 5000, "the longest that one call may take");
ABSL_FLAG(int, attempts, 4,
          "tries of a call, 1 to 5, while the server is unavailable or full");
ABSL_FLAG(std::optional<int>, index, std::nullopt,
          "which image of an IDX file, from 0");
ABSL_FLAG(std::string, images, "", "the images, an IDX file, plain or gzipped");
ABSL_FLAG(std::string, labels, "", "their labels, an IDX file");
ABSL_FLAG(int, concurrency, 64, "requests in flight");
ABSL_FLAG(int, limit, 0, "images to classify, from the first on; 0: all");
ABSL_FLAG(bool, json, false, "print JSON");
ABSL_FLAG(std::string, predictions, "",
          "write the predicted labels to this file, one a line, -1 for none");
ABSL_FLAG(int, layer, -1, "a layer, from 0; -1: the rollout over all layers");
ABSL_FLAG(int, head, -1, "a head of the layer, from 0; -1: the heads' mean");
ABSL_FLAG(std::string, token, "cls", "whose attention: cls, all or an index");
ABSL_FLAG(int, top, 10, "lines a token, the largest weights; 0: all");
ABSL_FLAG(std::string, out, "",
          "write a PNG of what the class token attends to");
ABSL_FLAG(bool, grid, false, "with --out: a picture for each layer and head");

namespace vit::client {
namespace {

using Names = std::vector<std::string>;

struct Command {
  std::string name;
  std::string files;
  std::string summary;
  Names flags;
};

const Names& CommonFlags() {
  static const auto& names =
      *new Names{"server", "address", "deadline_ms", "attempts"};
  return names;
}

const std::vector<Command>& Commands() {
  static const auto& commands = *new std::vector<Command>{
      {"classify",
       "FILE...",
       "Classify pictures. A PNG may have any size, colours and background; "
       "it\n"
       "    is brought to MNIST's form. An IDX file's image is sent as it is.",
       {"index"}},
      {"eval",
       "",
       "Classify a labelled set; report accuracy, speed, latency and errors.",
       {"images", "labels", "concurrency", "limit", "json", "predictions"}},
      {"explain",
       "FILE",
       "Classify a picture, or one of --images, and show which parts of it "
       "the\n"
       "    network attends to.",
       {"images", "index", "layer", "head", "token", "top", "out", "grid"}},
      {"health",
       "",
       "Ask the server for its health. Exits with 0 if it serves.",
       {}},
      {"version", "", "Print the version of this program.", {}}};
  return commands;
}

bool Contains(const Names& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

absl::Status Mistake(const std::string& what) {
  return absl::InvalidArgumentError(what);
}

bool IsOurs(const std::string& name) {
  if (Contains(CommonFlags(), name)) return true;
  return std::any_of(
      Commands().begin(), Commands().end(),
      [&name](const Command& c) { return Contains(c.flags, name); });
}

struct Words {
  bool help = false;
  Names flags;       // those that were given
  Names positional;  // the command and its files
};

// Takes the flag in args[i], and its value in args[i + 1] if it is there; i is
// left at what was taken last.
absl::Status TakeFlag(const Names& args, size_t& i, Words& words) {
  const std::string text = args[i].substr(args[i].starts_with("--") ? 2 : 1);
  const size_t equals = text.find('=');
  std::string name = text.substr(0, equals);
  std::string value = "true";
  bool negated = false;
  if (!IsOurs(name) && name.starts_with("no") && IsOurs(name.substr(2))) {
    name.erase(0, 2);
    negated = true;
    value = "false";
  }
  if (!IsOurs(name)) {
    return Mistake(absl::StrCat("unknown flag '", args[i], "'"));
  }
  absl::CommandLineFlag* const flag = absl::FindCommandLineFlag(name);
  const bool is_switch = flag->IsOfType<bool>();
  if (negated && (!is_switch || equals != std::string::npos)) {
    return Mistake(absl::StrCat("unknown flag '", args[i], "'"));
  }
  if (equals != std::string::npos) {
    value = text.substr(equals + 1);
  } else if (!is_switch) {
    if (i + 1 == args.size()) {
      return Mistake(absl::StrCat("flag --", name, " has no value"));
    }
    value = args[++i];
  }
  std::string error;
  if (!flag->ParseFrom(value, &error)) {
    return Mistake(absl::StrCat("flag --", name, "=", value,
                                ": not a value of its kind ", error));
  }
  words.flags.push_back(name);
  return absl::OkStatus();
}

absl::StatusOr<Words> SplitWords(const Names& args) {
  Words words;
  bool flags_ended = false;
  for (size_t i = 0; i < args.size(); ++i) {
    if (flags_ended || args[i].size() < 2 || args[i][0] != '-') {
      words.positional.push_back(args[i]);
    } else if (args[i] == "--") {
      flags_ended = true;
    } else if (args[i] == "--help" || args[i] == "-h") {
      words.help = true;
    } else if (args[i] == "--version") {
      words.positional.insert(words.positional.begin(), "version");
    } else if (absl::Status s = TakeFlag(args, i, words); !s.ok()) {
      return s;
    }
  }
  return words;
}

absl::StatusOr<const Command*> FindCommand(const Words& words) {
  Names names;
  for (const Command& command : Commands()) names.push_back(command.name);
  std::string list;
  for (const std::string& name : names) {
    absl::StrAppend(&list, list.empty() ? "" : ", ", name);
  }
  if (words.positional.empty()) {
    return Mistake(absl::StrCat("no command; the commands are ", list));
  }
  const std::string& name = words.positional[0];
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    return Mistake(
        absl::StrCat("unknown command '", name, "'; the commands are ", list));
  }
  return &Commands()[found - names.begin()];
}

ClientOptions ClientFlags() {
  ClientOptions options;
  const std::string address = absl::GetFlag(FLAGS_address);
  options.target = address.empty() ? absl::GetFlag(FLAGS_server) : address;
  options.deadline = absl::Milliseconds(absl::GetFlag(FLAGS_deadline_ms));
  options.max_attempts = absl::GetFlag(FLAGS_attempts);
  return options;
}

absl::Status FillEval(EvalCommand& eval) {
  eval.images = absl::GetFlag(FLAGS_images);
  eval.labels = absl::GetFlag(FLAGS_labels);
  eval.concurrency = absl::GetFlag(FLAGS_concurrency);
  eval.limit = absl::GetFlag(FLAGS_limit);
  eval.json = absl::GetFlag(FLAGS_json);
  eval.predictions = absl::GetFlag(FLAGS_predictions);
  if (eval.images.empty() || eval.labels.empty()) {
    return Mistake("eval needs --images and --labels");
  }
  return absl::OkStatus();
}

absl::Status FillExplain(const Names& files, ExplainCommand& explain) {
  explain.index = absl::GetFlag(FLAGS_index);
  explain.matrix = {absl::GetFlag(FLAGS_layer), absl::GetFlag(FLAGS_head)};
  explain.tokens = absl::GetFlag(FLAGS_token);
  explain.top = absl::GetFlag(FLAGS_top);
  explain.out = absl::GetFlag(FLAGS_out);
  explain.grid = absl::GetFlag(FLAGS_grid);
  const std::string images = absl::GetFlag(FLAGS_images);
  if (files.size() + (images.empty() ? 0 : 1) != 1) {
    return Mistake("explain needs one file, or --images and --index");
  }
  explain.file = files.empty() ? images : files[0];
  if (explain.matrix.head >= 0 && explain.matrix.layer < 0) {
    return Mistake("--head needs --layer");
  }
  if (explain.grid && explain.out.empty()) {
    return Mistake("--grid needs --out");
  }
  return absl::OkStatus();
}

std::string FlagLine(const std::string& name) {
  const absl::CommandLineFlag* const flag = absl::FindCommandLineFlag(name);
  const std::string value = flag->DefaultValue();
  return absl::StrFormat("      --%-12s %s%s\n", name, flag->Help(),
                         value.empty() ? "" : " (" + value + ")");
}

}  // namespace

absl::StatusOr<Arguments> ParseArguments(const std::vector<std::string>& args) {
  const absl::StatusOr<Words> words = SplitWords(args);
  if (!words.ok()) return words.status();
  Arguments arguments;
  arguments.help = words->help;
  if (arguments.help) return arguments;
  const absl::StatusOr<const Command*> command = FindCommand(*words);
  if (!command.ok()) return command.status();
  arguments.command = (*command)->name;
  for (const std::string& flag : words->flags) {
    if (!Contains(CommonFlags(), flag) && !Contains((*command)->flags, flag)) {
      return Mistake(
          absl::StrCat("--", flag, " is not a flag of ", arguments.command));
    }
  }
  const Names files(words->positional.begin() + 1, words->positional.end());
  if (!files.empty() && (*command)->files.empty()) {
    return Mistake(absl::StrCat(arguments.command, " takes no file, but '",
                                files[0], "' came"));
  }
  arguments.client = ClientFlags();
  absl::Status status;
  if (arguments.command == "classify") {
    if (files.empty()) status = Mistake("classify needs a file");
    arguments.classify = {files, absl::GetFlag(FLAGS_index)};
  } else if (arguments.command == "eval") {
    status = FillEval(arguments.eval);
  } else if (arguments.command == "explain") {
    status = FillExplain(files, arguments.explain);
  }
  if (!status.ok()) return status;
  return arguments;
}

std::string Usage() {
  std::string usage =
      "Classifies handwritten digits with a server of mnist-vit.\n\n"
      "usage: vit-client [FLAG...] COMMAND [FILE...]\n\n";
  for (const Command& command : Commands()) {
    absl::StrAppend(&usage, "  ", command.name,
                    command.files.empty() ? "" : " ", command.files, "\n    ",
                    command.summary, "\n");
    for (const std::string& flag : command.flags) usage += FlagLine(flag);
    usage += '\n';
  }
  usage += "  flags of every command\n";
  for (const std::string& flag : CommonFlags()) usage += FlagLine(flag);
  usage += "\nExit codes: 0 done, 1 failed, 2 wrong usage.\n";
  return usage;
}

}  // namespace vit::client
