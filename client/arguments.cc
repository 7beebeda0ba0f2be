#include "client/arguments.h"

#include <CLI/CLI.hpp>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace vit::client {
namespace {

constexpr char kCommands[] =
    "; the commands are classify, eval, explain, health, version";
constexpr char kConnection[] = "Flags of every command";

absl::Status Mistake(const std::string& what) {
  return absl::InvalidArgumentError(what);
}

// CLI11 by itself takes 010 for eight and no text for zero.
std::string CheckInteger(const std::string& text) {
  int value = 0;
  if (absl::SimpleAtoi(text, &value) && absl::StrCat(value) == text) return "";
  return absl::StrCat("expected a whole number, found '", text, "'");
}

std::string CheckFile(const std::string& text) {
  return text.empty() ? "expected a file, found ''" : "";
}

template <typename Int>
CLI::Option* AddInteger(CLI::App& app, const char* name, Int& value,
                        const char* help) {
  return app.add_option(name, value, help)->check(CheckInteger);
}

void AddConnection(CLI::App& app, ClientOptions& client, int& deadline_ms) {
  app.add_option("--server,--address", client.target,
                 "where the servers are: host:port, dns:///host:port or "
                 "ipv4:a:port,b:port")
      ->group(kConnection);
  AddInteger(app, "--deadline_ms", deadline_ms,
             "the longest that one call may take")
      ->group(kConnection);
  AddInteger(app, "--attempts", client.max_attempts,
             "tries of a call, 1 to 5, while the server is unavailable or full")
      ->group(kConnection);
}

void AddClassify(CLI::App& app, ClassifyCommand& classify) {
  CLI::App* const command = app.add_subcommand(
      "classify",
      "Classify pictures. A PNG may have any size, colours and background; it "
      "is brought to MNIST's form. An IDX file's image is sent as it is.");
  command->add_option("FILE", classify.files, "PNG or IDX files")
      ->required()
      ->take_all()
      ->default_str("");
  AddInteger(*command, "--index", classify.index,
             "which image of an IDX file, from 0");
}

void AddEval(CLI::App& app, EvalCommand& eval) {
  CLI::App* const command = app.add_subcommand(
      "eval",
      "Classify a labelled set; report accuracy, speed, latency and errors.");
  command
      ->add_option("--images", eval.images,
                   "the images, an IDX file, plain or gzipped")
      ->required()
      ->check(CheckFile);
  command->add_option("--labels", eval.labels, "their labels, an IDX file")
      ->required()
      ->check(CheckFile);
  AddInteger(*command, "--concurrency", eval.concurrency, "requests in flight");
  AddInteger(*command, "--limit", eval.limit,
             "images to classify, from the first on; 0: all");
  command->add_flag("--json,!--nojson", eval.json, "print JSON");
  command->add_option(
      "--predictions", eval.predictions,
      "write the predicted labels to this file, one a line, -1 for none");
}

void AddExplain(CLI::App& app, ExplainCommand& explain, std::string& images) {
  CLI::App* const command = app.add_subcommand(
      "explain",
      "Classify a picture, or one of --images, and show which parts of it the "
      "network attends to.");
  command->add_option("FILE", explain.file, "a PNG or IDX file");
  command->add_option("--images", images, "the images, an IDX file");
  AddInteger(*command, "--index", explain.index,
             "which image of an IDX file, from 0");
  AddInteger(*command, "--layer", explain.matrix.layer,
             "a layer, from 0; -1: the rollout over all layers");
  AddInteger(*command, "--head", explain.matrix.head,
             "a head of the layer, from 0; -1: the heads' mean");
  command->add_option("--token", explain.tokens,
                      "whose attention: cls, all or an index");
  AddInteger(*command, "--top", explain.top,
             "lines a token, the largest weights; 0: all");
  command->add_option("--out", explain.out,
                      "write a PNG of what the class token attends to");
  command->add_flag("--grid,!--nogrid", explain.grid,
                    "with --out: a picture for each layer and head");
}

// What CLI11's own requirements cannot say.
absl::Status CheckExplain(ExplainCommand& explain, const std::string& images) {
  if (explain.file.empty() == images.empty()) {
    return Mistake("explain needs one file, or --images and --index");
  }
  if (explain.file.empty()) explain.file = images;
  if (explain.matrix.head >= 0 && explain.matrix.layer < 0) {
    return Mistake("--head needs --layer");
  }
  if (explain.grid && explain.out.empty()) return Mistake("--grid needs --out");
  return absl::OkStatus();
}

// As CLI11 wants them: the last first. It takes the next word for the value of
// --flag=, so that becomes two words.
std::vector<std::string> Reversed(const std::vector<std::string>& args) {
  std::vector<std::string> words;
  for (const std::string& arg : args) {
    if (arg.starts_with("--") && arg.ends_with('=')) {
      words.push_back(arg.substr(0, arg.size() - 1));
      words.emplace_back();
    } else {
      words.push_back(arg);
    }
  }
  return {words.rbegin(), words.rend()};
}

// Of the command that was given; without one, of all commands.
std::string Help(const CLI::App& app) {
  if (app.get_subcommands().empty()) {
    return app.help("", CLI::AppFormatMode::All);
  }
  const auto is_connection = [](const CLI::Option* option) {
    return option->get_group() == kConnection;
  };
  return app.help() + CLI::Formatter().make_group(
                          kConnection, false, app.get_options(is_connection));
}

}  // namespace

absl::StatusOr<Arguments> ParseArguments(const std::vector<std::string>& args) {
  Arguments arguments;
  int deadline_ms =
      static_cast<int>(absl::ToInt64Milliseconds(arguments.client.deadline));
  std::string images;
  CLI::App app("Classifies handwritten digits with a server of mnist-vit.",
               "vit-client");
  app.option_defaults()->take_last()->always_capture_default();
  // Flags of every command may follow the command.
  app.fallthrough();
  app.require_subcommand(0, 1);
  app.set_version_flag("--version", "");
  app.footer("Exit codes: 0 done, 1 failed, 2 wrong usage.");
  AddConnection(app, arguments.client, deadline_ms);
  AddClassify(app, arguments.classify);
  AddEval(app, arguments.eval);
  AddExplain(app, arguments.explain, images);
  app.add_subcommand("health",
                     "Ask the server for its health. Exits with 0 if it "
                     "serves.");
  app.add_subcommand("version", "Print the version of this program.");
  try {
    std::vector<std::string> reversed = Reversed(args);
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    arguments.help = Help(app);
    return arguments;
  } catch (const CLI::CallForVersion&) {
    arguments.command = "version";
    return arguments;
  } catch (const CLI::Error& error) {
    const bool has_command = !app.get_subcommands().empty();
    return Mistake(absl::StrCat(error.what(), has_command ? "" : kCommands));
  }
  if (app.get_subcommands().empty()) {
    return Mistake(absl::StrCat("no command", kCommands));
  }
  arguments.command = app.get_subcommands().front()->get_name();
  arguments.client.deadline = absl::Milliseconds(deadline_ms);
  if (arguments.command == "explain") {
    absl::Status status = CheckExplain(arguments.explain, images);
    if (!status.ok()) return status;
  }
  return arguments;
}

}  // namespace vit::client
