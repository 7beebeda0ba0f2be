#include "server/telemetry/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

namespace vit {
namespace {

// Fields of /proc/self/stat that follow the program's name, proc(5).
struct Stat {
  double cpu_seconds = 0;
  double start_seconds = 0;  // after boot
  double virtual_bytes = 0;
  double resident_bytes = 0;
};

bool ReadStat(Stat* stat) {
  std::ifstream file("/proc/self/stat");
  std::string text((std::istreambuf_iterator<char>(file)),
                   std::istreambuf_iterator<char>());
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return false;
  std::istringstream fields(text.substr(name_end + 1));
  std::string state;
  fields >> state;
  // Fields 4 to 24 of proc(5)'s numbering.
  std::vector<double> values(21);
  for (double& value : values) fields >> value;
  if (!fields) return false;
  const auto field = [&values](int number) { return values[number - 4]; };
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  stat->cpu_seconds = (field(14) + field(15)) / ticks;
  stat->start_seconds = field(22) / ticks;
  stat->virtual_bytes = field(23);
  stat->resident_bytes = field(24) * static_cast<double>(sysconf(_SC_PAGESIZE));
  return true;
}

// When the machine started, in seconds since 1970; zero if unknown.
double BootSeconds() {
  std::ifstream file("/proc/stat");
  for (std::string word; file >> word;) {
    double seconds = 0;
    if (word == "btime" && file >> seconds) return seconds;
  }
  return 0;
}

double OpenFiles() {
  std::error_code error;
  const std::filesystem::directory_iterator entries("/proc/self/fd", error);
  if (error) return 0;
  // One of them is the open folder itself.
  return static_cast<double>(std::distance(begin(entries), end(entries)) - 1);
}

prometheus::MetricFamily Family(const char* name, const char* help,
                                prometheus::MetricType type, double value) {
  prometheus::MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  prometheus::ClientMetric metric;
  if (type == prometheus::MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  family.metric.push_back(metric);
  return family;
}

}  // namespace

std::vector<prometheus::MetricFamily> ProcessMetrics::Collect() const {
  using prometheus::MetricType;
  std::vector<prometheus::MetricFamily> families;
  if (Stat stat; ReadStat(&stat)) {
    families.push_back(Family("process_cpu_seconds_total",
                              "User and system CPU time, in seconds",
                              MetricType::Counter, stat.cpu_seconds));
    families.push_back(Family("process_resident_memory_bytes",
                              "Resident memory, in bytes", MetricType::Gauge,
                              stat.resident_bytes));
    families.push_back(Family("process_virtual_memory_bytes",
                              "Virtual memory, in bytes", MetricType::Gauge,
                              stat.virtual_bytes));
    families.push_back(Family("process_start_time_seconds",
                              "When the process started, in seconds since 1970",
                              MetricType::Gauge,
                              BootSeconds() + stat.start_seconds));
  }
  families.push_back(Family("process_open_fds", "Open file descriptors",
                            MetricType::Gauge, OpenFiles()));
  if (rlimit limit{}; getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    families.push_back(
        Family("process_max_fds", "Most file descriptors that may be open",
               MetricType::Gauge, static_cast<double>(limit.rlim_cur)));
  }
  return families;
}

}  // namespace vit
