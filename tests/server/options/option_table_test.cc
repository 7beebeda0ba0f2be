#include "server/options/option_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/server/options/parse.h"

// What must hold for every option, whichever there are.
namespace vit {
namespace {

using testing::ConfigFile;
using ::testing::HasSubstr;
using testing::Parse;
using testing::Variables;

// Converts to the type of any member.
struct Anything {
  template <typename T>
  operator T() const;  // NOLINT(google-explicit-constructor)
};

// How many members the aggregate T has.
template <typename T, typename... Members>
consteval size_t CountMembers() {
  if constexpr (requires { T{Members{}..., Anything{}}; }) {
    return CountMembers<T, Members..., Anything>();
  } else {
    return sizeof...(Members);
  }
}

std::vector<OptionSpec> AllOptions() {
  std::vector<OptionSpec> specs;
  for (const OptionGroup& group : OptionGroups()) {
    specs.insert(specs.end(), group.options.begin(), group.options.end());
  }
  return specs;
}

// A value that is valid and not the default.
std::string OtherValue(const OptionSpec& spec) {
  const std::string value = ValueText(spec, ServerOptions());
  switch (spec.form) {
    case OptionForm::kAnyText:
    case OptionForm::kText:
      return "other";
    case OptionForm::kAddress:
    case OptionForm::kAddressOrOff:
      return "127.0.0.1:7";
    case OptionForm::kChoice:
      return spec.choices.back();
    case OptionForm::kInteger:
      return std::to_string(std::atoi(value.c_str()) + 1);
    case OptionForm::kSwitch:
      return value == "true" ? "false" : "true";
  }
  return "";
}

// Whether the option can only be set with the certificate and its key.
bool NeedsTls(const OptionSpec& spec) {
  return std::string(spec.name).starts_with("tls_");
}

// What must be set with the option.
Variables Companions(const OptionSpec& spec) {
  if (!NeedsTls(spec)) return {};
  Variables variables = {{"VIT_TLS_CERTIFICATE", "c"}, {"VIT_TLS_KEY", "k"}};
  variables.erase(VariableName(spec.name));
  return variables;
}

// The names of the options that differ from the defaults.
std::set<std::string> Changed(const ServerOptions& options) {
  std::set<std::string> names;
  for (const OptionSpec& spec : AllOptions()) {
    if (ValueText(spec, options) != ValueText(spec, ServerOptions())) {
      names.insert(spec.name);
    }
  }
  return names;
}

TEST(OptionTableTest, EveryMemberHasOneEntry) {
  std::set<std::string> names;
  std::set<const void*> members;
  const ServerOptions options;
  for (const OptionSpec& spec : AllOptions()) {
    names.insert(spec.name);
    members.insert(std::visit(
        [&](auto member) -> const void* { return &(options.*member); },
        spec.member));
  }
  EXPECT_EQ(names.size(), CountMembers<ServerOptions>());
  EXPECT_EQ(members.size(), CountMembers<ServerOptions>());
  EXPECT_EQ(AllOptions().size(), CountMembers<ServerOptions>());
}

class EveryOptionTest : public ::testing::TestWithParam<OptionSpec> {
 protected:
  const std::string name_ = GetParam().name;
  const std::string other_ = OtherValue(GetParam());
};

TEST_P(EveryOptionTest, HasADefaultThatIsValidAndInTheHelp) {
  ServerOptions options;
  const std::string value = ValueText(GetParam(), options);
  EXPECT_TRUE(SetOption(GetParam(), value, options).ok());
  const std::string help = testing::Help();
  const size_t entry = help.find("  --" + name_ + "=");
  ASSERT_NE(entry, std::string::npos);
  std::string range;
  if (GetParam().form == OptionForm::kInteger) {
    range = std::to_string(GetParam().low) + " to " +
            std::to_string(GetParam().high) + "; ";
  }
  const std::string next = "\n  --";
  EXPECT_THAT(help.substr(entry, help.find(next, entry) - entry),
              HasSubstr(range + "default " + (value.empty() ? "empty" : value) +
                        "; " + VariableName(name_)));
}

TEST_P(EveryOptionTest, IsSetByAFlagTheEnvironmentAndTheFileAndAlone) {
  const Variables companions = Companions(GetParam());
  std::set<std::string> changed = {name_};
  if (NeedsTls(GetParam())) changed.insert({"tls_certificate", "tls_key"});
  Variables variables = companions;
  variables[VariableName(name_)] = other_;
  const ConfigFile file(name_ + ": \"" + other_ + "\"\n");
  const ConfigFile plain_file(name_ + ": " + other_ + "\n");
  const bool is_text =
      std::holds_alternative<std::string ServerOptions::*>(GetParam().member);
  for (const auto& parsed :
       {Parse({"--" + name_ + "=" + other_}, companions), Parse({}, variables),
        Parse({"--config", (is_text ? file : plain_file).path()},
              companions)}) {
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(ValueText(GetParam(), parsed->options), other_);
    EXPECT_EQ(Changed(parsed->options), changed);
  }
}

TEST_P(EveryOptionTest, RefusesWhatIsJustOutsideAndTellsTheSource) {
  std::vector<std::string> wrong;
  if (GetParam().form == OptionForm::kInteger) {
    ServerOptions options;
    for (const int bound : {GetParam().low, GetParam().high}) {
      EXPECT_TRUE(SetOption(GetParam(), std::to_string(bound), options).ok());
    }
    wrong = {std::to_string(GetParam().low - 1),
             std::to_string(GetParam().high + 1),
             "",
             "many",
             "1.5",
             "1 ",
             "0x1",
             "99999999999999999999"};
  } else if (GetParam().form != OptionForm::kAnyText) {
    wrong = {GetParam().form == OptionForm::kAddressOrOff ? "x" : ""};
  }
  for (const std::string& value : wrong) {
    const std::string reason = absl::StrCat(
        ": expected ", ExpectedValue(GetParam()), ", found '", value, "'");
    EXPECT_EQ(Parse({absl::StrCat("--", name_, "=", value)}).status().message(),
              absl::StrCat("flag --", name_, reason));
    const std::string variable = VariableName(name_);
    EXPECT_EQ(Parse({}, {{variable, value}}).status().message(),
              absl::StrCat("variable ", variable, reason));
  }
}

INSTANTIATE_TEST_SUITE_P(Options, EveryOptionTest,
                         ::testing::ValuesIn(AllOptions()),
                         [](const auto& test) {
                           return std::string(test.param.name);
                         });

}  // namespace
}  // namespace vit
