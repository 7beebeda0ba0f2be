// What option_table.h promises about values.

#include <arpa/inet.h>
#include <sys/un.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "server/options/option_table.h"

namespace vit {
namespace {

constexpr char kAddressForms[] =
    "host:port, [IPv6]:port or unix:/path, such as 0.0.0.0:50051";

// All of the text as a decimal number.
std::optional<int> ToInteger(const std::string& text) {
  int value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || rest != end) return std::nullopt;
  return value;
}

bool IsPort(const std::string& text) {
  const std::optional<int> port = ToInteger(text);
  return port.has_value() && *port >= 0 && *port <= 65535 && text[0] != '-';
}

bool IsIpv6(const std::string& text) {
  in6_addr address;
  // A zone, fe80::1%eth0, is the resolver's business.
  const std::string number = text.substr(0, text.find('%'));
  return inet_pton(AF_INET6, number.c_str(), &address) == 1;
}

bool IsHost(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' ||
           c == '-' || c == '_';
  });
}

bool IsAddress(const std::string& text) {
  if (text.starts_with("unix:")) {
    const std::string path = text.substr(5);
    return path.starts_with('/') && path.size() < sizeof(sockaddr_un::sun_path);
  }
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || !IsPort(text.substr(colon + 1))) {
    return false;
  }
  const std::string host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) {
    return IsIpv6(host.substr(1, host.size() - 2));
  }
  return IsHost(host);
}

bool IsValue(const OptionSpec& spec, const std::string& text) {
  switch (spec.form) {
    case OptionForm::kAnyText:
      return true;
    case OptionForm::kText:
      return !text.empty();
    case OptionForm::kAddress:
      return IsAddress(text);
    case OptionForm::kAddressOrOff:
      return text.empty() || IsAddress(text);
    case OptionForm::kChoice:
      return std::find(spec.choices.begin(), spec.choices.end(), text) !=
             spec.choices.end();
    case OptionForm::kInteger: {
      const std::optional<int> value = ToInteger(text);
      return value.has_value() && *value >= spec.low && *value <= spec.high;
    }
    case OptionForm::kSwitch:
      return text == "true" || text == "false";
  }
  return false;
}

std::string ChoiceList(const OptionSpec& spec) {
  std::string list;
  for (size_t i = 0; i < spec.choices.size(); ++i) {
    const bool is_last = i + 1 == spec.choices.size();
    absl::StrAppend(&list, i == 0 ? "" : (is_last ? " or " : ", "),
                    spec.choices[i]);
  }
  return list;
}

// For std::visit: what to do with each type of member.
template <typename... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <typename... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

}  // namespace

std::string ExpectedValue(const OptionSpec& spec) {
  switch (spec.form) {
    case OptionForm::kAnyText:
      return "text";
    case OptionForm::kText:
      return "text that is not empty";
    case OptionForm::kAddress:
      return kAddressForms;
    case OptionForm::kAddressOrOff:
      return absl::StrCat(kAddressForms, ", or nothing");
    case OptionForm::kChoice:
      return ChoiceList(spec);
    case OptionForm::kInteger:
      return absl::StrCat(spec.low, " to ", spec.high);
    case OptionForm::kSwitch:
      return "true or false";
  }
  return "";
}

std::string ValueText(const OptionSpec& spec, const ServerOptions& options) {
  return std::visit(
      Overloaded{
          [&](std::string ServerOptions::* text) { return options.*text; },
          [&](int ServerOptions::* number) {
            return absl::StrCat(options.*number);
          },
          [&](bool ServerOptions::* is_on) {
            return std::string(options.*is_on ? "true" : "false");
          }},
      spec.member);
}

absl::Status SetOption(const OptionSpec& spec, const std::string& text,
                       ServerOptions& options) {
  if (!IsValue(spec, text)) return WrongValue(spec, text);
  std::visit(Overloaded{[&](std::string ServerOptions::* member) {
                          options.*member = text;
                        },
                        [&](int ServerOptions::* member) {
                          options.*member = ToInteger(text).value_or(spec.low);
                        },
                        [&](bool ServerOptions::* member) {
                          options.*member = text == "true";
                        }},
             spec.member);
  return absl::OkStatus();
}

absl::Status WrongValue(const OptionSpec& spec, const std::string& found) {
  return absl::InvalidArgumentError(
      absl::StrCat("expected ", ExpectedValue(spec), ", found '",
                   absl::Utf8SafeCEscape(found), "'"));
}

}  // namespace vit
