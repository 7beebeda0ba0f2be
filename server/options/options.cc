#include "server/options/options.h"

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/options/config_file.h"
#include "server/options/help.h"
#include "server/options/option_table.h"

namespace vit {
namespace {

struct Flag {
  const OptionSpec* spec;
  std::string value;
};

struct CommandLine {
  std::vector<Flag> flags;
  std::optional<std::string> config;
  bool check_config = false;
};

absl::Status Error(const std::string& source, const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat(source, ": ", what));
}

bool IsSwitch(const OptionSpec& spec) {
  return spec.form == OptionForm::kSwitch;
}

// --noNAME of a switch; nullptr if it is not one.
const OptionSpec* NegatedSwitch(const std::string& name) {
  if (!name.starts_with("no")) return nullptr;
  const OptionSpec* const spec = FindOption(name.substr(2));
  return spec != nullptr && IsSwitch(*spec) ? spec : nullptr;
}

// Splits the command line into flags, without a look at their values.
class FlagReader {
 public:
  explicit FlagReader(std::span<const char* const> args) : args_(args) {}

  absl::StatusOr<CommandLine> Read() {
    for (; next_ < args_.size();) {
      if (absl::Status status = ReadFlag(); !status.ok()) return status;
    }
    return std::move(line_);
  }

 private:
  absl::Status ReadFlag() {
    const std::string word = args_[next_++];
    if (!word.starts_with("--") || word.size() == 2) {
      return Error("command line",
                   absl::StrCat("expected --NAME=VALUE (--help lists the "
                                "options), found '",
                                absl::Utf8SafeCEscape(word), "'"));
    }
    const size_t equals = word.find('=');
    const bool has_value = equals != std::string::npos;
    const std::string name = word.substr(2, has_value ? equals - 2 : equals);
    const std::string value = has_value ? word.substr(equals + 1) : "";
    if (name == "check_config" && !has_value) {
      line_.check_config = true;
      return absl::OkStatus();
    }
    const OptionSpec* const spec = FindOption(name);
    const OptionSpec* const negated = NegatedSwitch(name);
    if (negated != nullptr && !has_value) {
      line_.flags.push_back({negated, "false"});
    } else if (spec != nullptr && IsSwitch(*spec)) {
      line_.flags.push_back({spec, has_value ? value : "true"});
    } else if (spec == nullptr && name != "config") {
      return Unknown(word, name);
    } else {
      const absl::StatusOr<std::string> taken =
          has_value ? value : NextValue(name);
      if (!taken.ok()) return taken.status();
      if (spec != nullptr) {
        line_.flags.push_back({spec, *taken});
      } else {
        line_.config = *taken;
      }
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::string> NextValue(const std::string& name) {
    if (next_ < args_.size() && !std::string(args_[next_]).starts_with("--")) {
      return std::string(args_[next_++]);
    }
    return Error("flag --" + name,
                 absl::StrCat("expected a value, found ",
                              next_ < args_.size() ? args_[next_] : "nothing"));
  }

  static absl::Status Unknown(const std::string& word,
                              const std::string& name) {
    return Error(
        "command line",
        absl::StrCat("expected an option (--help lists them), found '",
                     absl::Utf8SafeCEscape(word), "'", Suggestion(name)));
  }

  const std::span<const char* const> args_;
  size_t next_ = 0;
  CommandLine line_;
};

// The options so far, and where each that was set came from.
class Collector {
 public:
  absl::Status Set(const OptionSpec& spec, const std::string& value,
                   const std::string& source) {
    if (absl::Status status = SetOption(spec, value, options_); !status.ok()) {
      return Error(source, std::string(status.message()));
    }
    sources_[spec.name] = source;
    return absl::OkStatus();
  }

  // `source_of_path` is where the file's name comes from.
  absl::Status SetFromFile(const std::string& path,
                           const std::string& source_of_path);
  absl::Status SetFromEnvironment(const Environment& environment);

  // What no option can tell alone.
  absl::Status Check();

  const ServerOptions& options() const { return options_; }

 private:
  // Where the value of an option that was set comes from.
  std::string Source(const char* name) const {
    const auto found = sources_.find(name);
    return found == sources_.end() ? name : found->second;
  }

  // A limit that another option sets, and where that comes from.
  std::string Limit(const char* name, int limit) const {
    return absl::StrCat(limit, ", the value of ", name,
                        sources_.contains(name) ? " by " : " by default",
                        sources_.contains(name) ? Source(name) : "");
  }

  // Lets `value`, the option `name`, be no more than the option `limit_name`.
  // Its default follows the limit down.
  absl::Status KeepWithin(const char* name, int& value, const char* limit_name,
                          int limit) {
    if (value <= limit) return absl::OkStatus();
    if (!sources_.contains(name)) {
      value = limit;
      return absl::OkStatus();
    }
    return Error(Source(name),
                 absl::StrCat("expected at most ", Limit(limit_name, limit),
                              ", found ", value));
  }

  absl::Status Needs(const char* name, const std::string& value,
                     const char* other_name, const std::string& other) const {
    if (value.empty() || !other.empty()) return absl::OkStatus();
    return Error(Source(name),
                 absl::StrCat("expected ", other_name, " with it, found none"));
  }

  ServerOptions options_;
  std::map<std::string, std::string> sources_;
};

absl::Status Collector::SetFromFile(const std::string& path,
                                    const std::string& source_of_path) {
  const auto lines = ReadConfigFile(path);
  if (absl::IsNotFound(lines.status())) {
    return absl::NotFoundError(absl::StrCat(
        source_of_path, ": ", std::string(lines.status().message())));
  }
  if (!lines.ok()) return lines.status();
  for (const ConfigLine& line : *lines) {
    const std::string source = ConfigSource(path, line);
    const OptionSpec* const spec = FindOption(line.key);
    if (spec == nullptr) {
      return Error(source, absl::StrCat("expected the name of an option",
                                        Suggestion(line.key)));
    }
    const bool is_text =
        std::holds_alternative<std::string ServerOptions::*>(spec->member);
    if (line.quoted && !is_text) {
      return Error(source,
                   absl::StrCat("expected ", ExpectedValue(*spec),
                                " without quotes, found the text '",
                                absl::Utf8SafeCEscape(line.value), "'"));
    }
    if (absl::Status s = Set(*spec, line.value, source); !s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::Status Collector::SetFromEnvironment(const Environment& environment) {
  for (const OptionGroup& group : OptionGroups()) {
    for (const OptionSpec& spec : group.options) {
      const std::string variable = VariableName(spec.name);
      const char* const value = environment(variable.c_str());
      if (value == nullptr) continue;
      absl::Status status = Set(spec, value, "variable " + variable);
      if (!status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status Collector::Check() {
  ServerOptions& o = options_;
  if (o.max_queue_size < o.max_batch_size) {
    return Error(Source("max_queue_size"),
                 absl::StrCat("expected at least ",
                              Limit("max_batch_size", o.max_batch_size),
                              ", found ", o.max_queue_size));
  }
  absl::Status status = KeepWithin("max_images_per_call", o.max_images_per_call,
                                   "max_queue_size", o.max_queue_size);
  if (status.ok() && o.max_deadline_ms > 0) {
    status = KeepWithin("default_deadline_ms", o.default_deadline_ms,
                        "max_deadline_ms", o.max_deadline_ms);
  }
  status.Update(
      Needs("tls_certificate", o.tls_certificate, "tls_key", o.tls_key));
  status.Update(
      Needs("tls_key", o.tls_key, "tls_certificate", o.tls_certificate));
  status.Update(Needs("tls_client_ca", o.tls_client_ca, "tls_certificate",
                      o.tls_certificate));
  return status;
}

bool Contains(std::span<const char* const> args, const std::string& word) {
  for (const char* arg : args) {
    if (arg == word) return true;
  }
  return false;
}

}  // namespace

absl::StatusOr<ParsedOptions> ParseOptions(std::span<const char* const> args,
                                           const std::string& version,
                                           const Environment& environment) {
  if (Contains(args, "--help")) return ParsedOptions{.text = HelpText()};
  if (Contains(args, "--version")) {
    return ParsedOptions{.text = "vit-server " + version + "\n"};
  }
  const absl::StatusOr<CommandLine> line = FlagReader(args).Read();
  if (!line.ok()) return line.status();

  Collector collector;
  absl::Status status;
  if (line->config.has_value()) {
    status = collector.SetFromFile(*line->config, "flag --config");
  } else if (const char* const path = environment("VIT_CONFIG")) {
    status = collector.SetFromFile(path, "variable VIT_CONFIG");
  }
  status.Update(collector.SetFromEnvironment(environment));
  for (const Flag& flag : line->flags) {
    status.Update(collector.Set(*flag.spec, flag.value,
                                absl::StrCat("flag --", flag.spec->name)));
  }
  if (status.ok()) status = collector.Check();
  if (!status.ok()) return status;
  return ParsedOptions{.options = collector.options(),
                       .check_config = line->check_config,
                       .text = ""};
}

}  // namespace vit
