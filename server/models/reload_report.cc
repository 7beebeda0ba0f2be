#include "server/models/reload_report.h"

#include "absl/strings/str_cat.h"

namespace vit {

std::vector<std::string> ChangeLines(const ReloadReport& report) {
  std::vector<std::string> lines;
  const auto add = [&lines](const std::vector<ReloadReport::Item>& items,
                            const char* what) {
    for (const ReloadReport::Item& item : items) {
      lines.push_back(
          absl::StrCat("model ", item.name, " version ", item.version, ": ",
                       what, item.reason.empty() ? "" : ": ", item.reason));
    }
  };
  add(report.loaded, "loaded");
  add(report.refused, "refused");
  add(report.retired, "retired");
  return lines;
}

}  // namespace vit
