#include "server/options/help.h"

#include <algorithm>
#include <numeric>
#include <sstream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/options/option_table.h"

namespace vit {
namespace {

constexpr size_t kColumns = 80;

constexpr char kIntroduction[] =
    R"(vit-server serves Vision Transformers over gRPC.

usage: vit-server [--NAME=VALUE | --NAME VALUE]...

Each option below is a flag, an environment variable and a key of the file that
--config names. The flag wins over the variable, the variable over the file, the
file over the default. A switch is also --NAME or --noNAME. Of a flag that is
given twice, the last counts. ADDRESS is host:port, [IPv6]:port or unix:/path.

  --config=FILE
      Read options from FILE, lines of NAME: VALUE in YAML. [VIT_CONFIG]
  --check_config
      Check the options, the models and the files of certificates and tokens,
      and exit: 0 if all is valid.
  --help
      Print this and exit.
  --version
      Print the version and exit.
)";

// `text` in lines that begin with six spaces.
std::string Wrapped(const std::string& text) {
  const std::string indent(6, ' ');
  std::istringstream words(text);
  std::string lines;
  std::string line = indent;
  for (std::string word; words >> word;) {
    if (line.size() + 1 + word.size() > kColumns && line != indent) {
      absl::StrAppend(&lines, line, "\n");
      line = indent;
    }
    absl::StrAppend(&line, line == indent ? "" : " ", word);
  }
  return absl::StrCat(lines, line, "\n");
}

std::string OptionHelp(const OptionSpec& spec) {
  std::string facts;
  if (spec.form == OptionForm::kInteger || spec.form == OptionForm::kChoice) {
    facts = ExpectedValue(spec) + "; ";
  }
  const std::string value = ValueText(spec, ServerOptions());
  absl::StrAppend(&facts, "default ", value.empty() ? "empty" : value, "; ",
                  VariableName(spec.name));
  return absl::StrCat("  --", spec.name, "=", spec.unit, "\n",
                      Wrapped(spec.help), Wrapped(facts));
}

// Levenshtein's distance: the fewest letters to insert, delete or replace.
size_t Distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string HelpText() {
  std::string text = kIntroduction;
  for (const OptionGroup& group : OptionGroups()) {
    absl::StrAppend(&text, "\n", group.title, "\n");
    for (const OptionSpec& spec : group.options) text += OptionHelp(spec);
  }
  return text;
}

std::string Suggestion(const std::string& name) {
  std::vector<std::string> names = {"config", "check_config", "help",
                                    "version"};
  for (const OptionGroup& group : OptionGroups()) {
    for (const OptionSpec& spec : group.options) names.emplace_back(spec.name);
  }
  std::string spelt = name.substr(0, 100);
  std::replace(spelt.begin(), spelt.end(), '-', '_');
  std::string nearest;
  // A third of the letters wrong is no slip any more.
  size_t least = spelt.size() / 3 + 1;
  for (const std::string& candidate : names) {
    const size_t distance = Distance(spelt, candidate);
    if (distance < least) {
      least = distance;
      nearest = candidate;
    }
  }
  return nearest.empty() ? "" : absl::StrCat("; did you mean ", nearest, "?");
}

}  // namespace vit
