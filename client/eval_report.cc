#include "client/eval_report.h"

#include <array>
#include <cerrno>
#include <cstddef>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "nlohmann/json.hpp"

namespace vit::client {
namespace {

constexpr double kMillisecondsPerSecond = 1000;

struct NamedQuantile {
  const char* label;
  const char* json_name;
  double q;
};
constexpr std::array<NamedQuantile, 5> kQuantiles = {{{"p50", "p50", 0.5},
                                                      {"p90", "p90", 0.9},
                                                      {"p99", "p99", 0.99},
                                                      {"p99.9", "p99_9", 0.999},
                                                      {"max", "max", 1}}};

std::string ConfusionTable(const EvalResult& result) {
  std::string table =
      "confusion: a row for each true label, a column for each prediction\n"
      "       ";
  for (size_t i = 0; i < result.confusion.size(); ++i) {
    absl::StrAppendFormat(&table, "%6d", i);
  }
  table += '\n';
  for (size_t label = 0; label < result.confusion.size(); ++label) {
    absl::StrAppendFormat(&table, "%6d ", label);
    for (const int count : result.confusion[label]) {
      if (count == 0) {
        absl::StrAppendFormat(&table, "%6s", ".");
      } else {
        absl::StrAppendFormat(&table, "%6d", count);
      }
    }
    table += '\n';
  }
  return table;
}

}  // namespace

std::string EvalReport(const EvalResult& result) {
  std::string report = absl::StrFormat(
      "accuracy   %.2f %% (%d of %d images)\n"
      "speed      %.0f images/s (%.2f s)\n"
      "latency    ",
      100 * result.accuracy(), result.correct, result.images(),
      result.images_per_second(), result.elapsed_seconds);
  const char* separator = "";
  for (const NamedQuantile& quantile : kQuantiles) {
    absl::StrAppendFormat(&report, "%s%s %.2f ms", separator, quantile.label,
                          kMillisecondsPerSecond *
                              Quantile(result.latencies_seconds, quantile.q));
    separator = ", ";
  }
  absl::StrAppendFormat(&report, "\nerrors     %d\n", result.failed());
  for (const auto& [code, count] : result.errors) {
    absl::StrAppendFormat(&report, "           %d %s\n", count,
                          absl::StatusCodeToString(code));
  }
  if (!result.first_error.ok()) {
    absl::StrAppend(&report, "           the first: ",
                    std::string(result.first_error.message()), "\n");
  }
  absl::StrAppend(&report, "\n", ConfusionTable(result));
  return report;
}

std::string EvalJson(const EvalResult& result) {
  nlohmann::ordered_json json;
  json["images"] = result.images();
  json["correct"] = result.correct;
  json["accuracy"] = result.accuracy();
  json["failed"] = result.failed();
  json["errors"] = nlohmann::ordered_json::object();
  for (const auto& [code, count] : result.errors) {
    json["errors"][absl::StatusCodeToString(code)] = count;
  }
  json["elapsed_seconds"] = result.elapsed_seconds;
  json["images_per_second"] = result.images_per_second();
  for (const NamedQuantile& quantile : kQuantiles) {
    json["latency_seconds"][quantile.json_name] =
        Quantile(result.latencies_seconds, quantile.q);
  }
  json["confusion"] = result.confusion;
  return json.dump() + "\n";
}

absl::Status WritePredictions(const EvalResult& result,
                              const std::string& path) {
  errno = 0;
  std::ofstream file(path, std::ios::trunc);
  for (const int prediction : result.predictions) file << prediction << '\n';
  file.close();
  if (!file) return absl::ErrnoToStatus(errno == 0 ? EIO : errno, path);
  return absl::OkStatus();
}

}  // namespace vit::client
