#ifndef MNIST_VIT_SERVER_TELEMETRY_LOG_H_
#define MNIST_VIT_SERVER_TELEMETRY_LOG_H_

#include <chrono>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

// Lines for an operator, on standard error, in one of two forms:
//
//   text   warning: slow request: method=Classify total_seconds=1.5
//   JSON   {"time":"2024-02-29T12:00:00.000001Z","severity":"WARNING",
//           "message":"slow request","method":"Classify","total_seconds":1.5}
//
// Text has no time, because whoever collects lines adds it. An object is one
// line.
namespace vit {

enum class LogForm { kText, kJson };
enum class Severity { kInfo, kWarning, kError };

// Something that a program may want to find in a line. The texts live as long
// as the call that they are given to.
struct LogField {
  std::string_view name;
  std::variant<std::string_view, int64_t, double> value;
};

struct LogEntry {
  Severity severity = Severity::kInfo;
  std::string_view message;
  std::span<const LogField> fields = {};
};

// Chooses the form of all lines from now on; text until then. Any thread.
void SetLogForm(LogForm form);

// Writes one line, whole, whichever thread calls. If nobody reads, it waits for
// a second, so this is not for the way of a request. Then the line is lost, and
// the next one that isn't comes after one that says how many were.
void Log(const LogEntry& entry);
void Log(std::string_view message);

// The same for the way of a request: false, with nothing written, if that would
// wait for a reader or for another line, or the line is longer than what a pipe
// takes at once. Any thread.
bool LogUnlessBlocked(const LogEntry& entry);

// The line, with its end.
std::string FormatLog(LogForm form, std::chrono::system_clock::time_point time,
                      const LogEntry& entry);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_TELEMETRY_LOG_H_
