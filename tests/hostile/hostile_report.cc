#include "tests/hostile/hostile_report.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <sstream>
#include <system_error>

#include "tests/hostile/limits.h"

namespace vit::hostile {
namespace {

constexpr char kHead[] =
    "| peer | peak MiB | threads | p99 at rest, ms | during | calls | errors "
    "| probes | unanswered | slowest, ms | served again after, s | log, KiB "
    "| exit |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|\n";

}  // namespace

std::string HostileReport::Row() const {
  std::ostringstream row;
  row << std::fixed << std::setprecision(1);
  row << "| " << peer << " | " << peak_resident_bytes / kMiB
      << (called_off ? ", called off" : "") << " | " << peak_threads << " | "
      << at_rest.P99Ms() << " | " << during.P99Ms() << " | " << during.calls
      << " | " << during.call_errors << " | " << during.probes << " | "
      << during.probe_errors << " | " << during.slowest_probe_ms << " | ";
  if (died) {
    row << "died";
  } else if (recovery_seconds < 0) {
    row << "never";
  } else {
    row << recovery_seconds;
  }
  row << " | " << static_cast<double>(log_bytes) / 1024 << " | ";
  if (exit_code < 0) {
    row << "goes on";
  } else {
    row << exit_code << " after " << exit_seconds << " s";
  }
  row << " |";
  return row.str();
}

void HostileReport::Publish() const {
  std::cout << Row() << std::endl;
  const char* const path = std::getenv("VIT_HOSTILE_REPORT");
  if (path == nullptr || *path == '\0') return;
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  std::ofstream file(path, std::ios::app);
  if (error || size == 0) file << kHead;
  file << Row() << '\n';
}

}  // namespace vit::hostile
