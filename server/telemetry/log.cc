#include "server/telemetry/log.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>

#include "absl/base/thread_annotations.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/base/mutex.h"
#include "server/telemetry/json_text.h"

namespace vit {
namespace {

std::atomic<LogForm> log_form{LogForm::kText};

absl::string_view View(std::string_view text) {
  return {text.data(), text.size()};
}

// Before the message; information is what is expected, so it has none.
const char* Prefix(Severity severity) {
  switch (severity) {
    case Severity::kInfo:
      return "";
    case Severity::kWarning:
      return "warning: ";
    case Severity::kError:
      return "error: ";
  }
  return "";
}

const char* JsonName(Severity severity) {
  switch (severity) {
    case Severity::kInfo:
      return "INFO";
    case Severity::kWarning:
      return "WARNING";
    case Severity::kError:
      return "ERROR";
  }
  return "";
}

// In quotes if a reader could not tell where it ends.
void AppendText(std::string_view value, std::string* line) {
  const std::string escaped = absl::Utf8SafeCEscape(View(value));
  const bool plain = !value.empty() && escaped == value &&
                     value.find_first_of(" =") == std::string_view::npos;
  absl::StrAppend(line, plain ? "" : "\"", escaped, plain ? "" : "\"");
}

struct AppendTextValue {
  void operator()(std::string_view value) const { AppendText(value, line); }
  void operator()(int64_t value) const { absl::StrAppend(line, value); }
  void operator()(double value) const { absl::StrAppend(line, value); }
  std::string* line;
};

struct AppendJsonValue {
  void operator()(std::string_view value) const {
    AppendJsonString(value, line);
  }
  void operator()(int64_t value) const { absl::StrAppend(line, value); }
  void operator()(double value) const { absl::StrAppend(line, value); }
  std::string* line;
};

std::string FormatText(const LogEntry& entry) {
  std::string line = absl::StrCat(Prefix(entry.severity), View(entry.message));
  if (!entry.fields.empty()) line += ':';
  for (const LogField& field : entry.fields) {
    absl::StrAppend(&line, " ", View(field.name), "=");
    std::visit(AppendTextValue{&line}, field.value);
  }
  return line + "\n";
}

std::string FormatJson(std::chrono::system_clock::time_point time,
                       const LogEntry& entry) {
  std::string line = absl::StrCat(
      "{\"time\":\"",
      absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", absl::FromChrono(time),
                       absl::UTCTimeZone()),
      "\",\"severity\":\"", JsonName(entry.severity), "\",\"message\":");
  AppendJsonString(entry.message, &line);
  for (const LogField& field : entry.fields) {
    line += ',';
    AppendJsonString(field.name, &line);
    line += ':';
    std::visit(AppendJsonValue{&line}, field.value);
  }
  return line + "}\n";
}

// Lines are written one after another.
Mutex output_mutex;
// Lines that nobody read since the last that was written.
int64_t lost_lines ABSL_GUARDED_BY(output_mutex) = 0;

// In milliseconds, how long a line waits for a reader.
constexpr int kPatience = 1000;

// A line, or only its beginning if nobody reads for `patience` milliseconds.
// Whether it was the whole line.
bool Write(absl::string_view line, int patience) {
  while (!line.empty()) {
    // A pipe that can be written to takes PIPE_BUF bytes without waiting.
    pollfd output = {.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
    if (poll(&output, 1, patience) != 1 || (output.revents & POLLOUT) == 0) {
      return false;
    }
    const ssize_t written = write(STDERR_FILENO, line.data(),
                                  std::min<size_t>(line.size(), PIPE_BUF));
    if (written > 0) line.remove_prefix(static_cast<size_t>(written));
    if (written < 0 && errno != EINTR && errno != EAGAIN) return false;
  }
  return true;
}

std::string FormatNow(const LogEntry& entry) {
  return FormatLog(log_form.load(std::memory_order_relaxed),
                   std::chrono::system_clock::now(), entry);
}

std::string FormatLost() ABSL_EXCLUSIVE_LOCKS_REQUIRED(output_mutex) {
  const LogField fields[] = {{"lines", lost_lines}};
  return FormatNow({.severity = Severity::kWarning,
                    .message = "nobody read the log",
                    .fields = fields});
}

}  // namespace

std::string FormatLog(LogForm form, std::chrono::system_clock::time_point time,
                      const LogEntry& entry) {
  return form == LogForm::kJson ? FormatJson(time, entry) : FormatText(entry);
}

void SetLogForm(LogForm form) { log_form.store(form); }

void Log(const LogEntry& entry) {
  const std::string line = FormatNow(entry);
  MutexLock lock(&output_mutex);
  if (lost_lines > 0 && !Write(FormatLost(), kPatience)) {
    ++lost_lines;
    return;
  }
  lost_lines = Write(line, kPatience) ? 0 : 1;
}

void Log(std::string_view message) { Log({.message = message}); }

bool LogUnlessBlocked(const LogEntry& entry) {
  const std::string line = FormatNow(entry);
  if (line.size() > PIPE_BUF) return false;
  // Whoever holds it may be waiting for the reader.
  if (!output_mutex.TryLock()) return false;
  const bool written = Write(line, /*patience=*/0);
  output_mutex.Unlock();
  return written;
}

}  // namespace vit
