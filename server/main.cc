// vit-server: serves a Vision Transformer over gRPC. Parts are put together
// here; each has its own place.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "model/engine.h"
#include "server/base/serving_state.h"
#include "server/http/http_server.h"
#include "server/http/probes.h"
#include "server/limits/cpu_quota.h"
#include "server/limits/memory_budget.h"
#include "server/model_reloader.h"
#include "server/options/options.h"
#include "server/server.h"
#include "server/serving_models.h"
#include "server/signals.h"
#include "server/telemetry/log.h"
#include "server/telemetry/process_metrics.h"

namespace vit {
namespace {

// EX_SOFTWARE of sysexits.h: what the watchdog ends a hung server with.
constexpr int kExitHung = 70;

void LogChoices(const ServerOptions& options, int workers) {
  Log(absl::StrFormat(
      "workers %d (CPUs granted: %d), largest batch %d, queue delay %d us, "
      "queue size %d",
      workers, GrantedCpus(), options.max_batch_size,
      options.max_queue_delay_us, options.max_queue_size));
  Log(absl::StrCat("kernels: ", VitModel::Platform()));
}

void EndHungServer(const std::string& what) {
  const std::string message =
      absl::StrCat(what, ": ending, so that another can start");
  Log({.severity = Severity::kError, .message = message});
  std::_Exit(kExitHung);
}

// Plain text is all right on this machine, or behind a proxy that the operator
// knows of.
void WarnOfPlainText(const ServerOptions& options) {
  const std::string& address = options.address;
  const bool is_local =
      address.starts_with("unix:") || address.starts_with("127.") ||
      address.starts_with("localhost:") || address.starts_with("[::1]:");
  if (is_local || !options.tls_certificate.empty()) return;
  const std::string message = absl::StrCat(
      "gRPC on ", address, " is plain text; --tls_certificate encrypts it");
  Log({.severity = Severity::kWarning, .message = message});
}

int WorkersOf(const ServerOptions& options) {
  return options.workers > 0 ? options.workers : GrantedCpus();
}

// What an operator asks the process itself, on an address of its own.
absl::StatusOr<std::unique_ptr<HttpServer>> StartDebug(
    const std::string& address, const MemoryBudget& budget) {
  if (address.empty()) return nullptr;
  HttpRoute limits{.method = "GET", .path = "/debug/limits"};
  limits.handler = [text = budget.ToText()](const HttpRequest& /*request*/,
                                            const HttpResponder& respond) {
    respond({.content_type = "text/plain; charset=utf-8", .body = text});
  };
  HttpLimits few;
  few.max_connections = 8;
  few.max_requests = 4;
  return HttpServer::Start(address, {std::move(limits)}, few);
}

// Before any model is known: its share of the descriptors.
HttpLimits HttpLimitsFor(const ServerOptions& options) {
  const MemoryBudget budget =
      MakeMemoryBudget({.granted = GrantedMemory(),
                        .descriptors = RaiseDescriptorLimit(),
                        .max_connections = options.max_connections});
  HttpLimits limits;
  limits.max_connections = static_cast<int>(budget.max_http_connections);
  limits.max_requests = std::max(limits.max_connections / 2, 1);
  return limits;
}

std::map<std::string, std::string> BuildLabels() {
  return {{"version", VIT_VERSION},
          {"compiler", VIT_COMPILER},
          {"kernels", VitModel::Platform()}};
}

absl::Status Serve(const ServerOptions& options, Signals* signals) {
  const Clock::time_point start = Clock::now();
  const auto registry = std::make_shared<prometheus::Registry>();
  ServingState state;
  std::vector<HttpRoute> routes = ProbeRoutes(&state);
  routes.push_back(
      MetricsRoute({registry, std::make_shared<ProcessMetrics>()}));
  const absl::StatusOr<std::unique_ptr<HttpServer>> http = HttpServer::Start(
      options.http_address, std::move(routes), HttpLimitsFor(options));
  if (!http.ok()) return http.status();
  Log(absl::StrCat("HTTP listening on ", (*http)->address()));

  const int workers = WorkersOf(options);
  LogChoices(options, workers);
  WarnOfPlainText(options);
  Metrics metrics(registry.get(), BuildLabels());
  WorkerPool pool(workers, options.max_batch_size);
  const auto models = LoadServingModels(options, &pool, &metrics);
  if (!models.ok()) return models.status();
  const MemoryBudget budget = BudgetFor(options, *(*models)->snapshot());
  Log(absl::StrCat("limits:\n", budget.ToText()));
  const auto debug = StartDebug(options.debug_address, budget);
  if (!debug.ok()) return debug.status();
  if (*debug != nullptr) {
    Log(absl::StrCat("debug pages listening on ", (*debug)->address()));
  }

  OwnMemory own_memory;
  own_memory.Measure();
  ModelReloader reloader(models->get(),
                         std::chrono::seconds(options.model_poll_seconds),
                         &metrics, &own_memory);
  const absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(
      options,
      {.state = &state,
       .pool = &pool,
       .metrics = &metrics,
       .pick_model = PickFrom(models->get()),
       .list_models = [&models] { return (*models)->Models(); },
       .request_reload =
           [&reloader](OnReloaded done) { reloader.Request(std::move(done)); },
       .budget = budget,
       .own_memory = &own_memory,
       .on_hung = EndHungServer});
  if (!server.ok()) return server.status();
  if (!(*server)->admin_address().empty()) {
    Log(absl::StrCat("admin service listening on ",
                     (*server)->admin_address()));
  }
  signals->StartServing([&reloader] { reloader.Request(nullptr); });
  Log(absl::StrCat("gRPC listening on ", (*server)->address()));
  const std::chrono::duration<double, std::milli> took = Clock::now() - start;
  Log(absl::StrFormat("ready after %.0f ms", took.count()));

  signals->WaitForEnd();
  if (!(*server)->Drain()) {
    return absl::DeadlineExceededError(
        absl::StrCat("calls were cut off after --drain_timeout_seconds=",
                     options.drain_timeout_seconds));
  }
  Log("all done");
  return absl::OkStatus();
}

// Reads the files that serving would, for their errors.
absl::Status Check(const ServerOptions& options) {
  prometheus::Registry registry;
  Metrics metrics(&registry, BuildLabels());
  ServingState state;
  WorkerPool pool(1, options.max_batch_size);
  ServerParts parts;
  parts.state = &state;
  parts.pool = &pool;
  parts.metrics = &metrics;
  absl::Status status = Server::CheckFiles(options, std::move(parts));
  if (!status.ok()) return status;
  status = LoadServingModels(options, &pool, &metrics).status();
  if (status.ok()) std::puts("configuration is valid");
  return status;
}

int Main(int argc, char** argv) {
  Signals signals;
  // Where Abseil was built for debugging, as Debian 12's, gRPC's mutexes would
  // note each lock in a graph, for 2 % of the CPU time under load.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  const absl::StatusOr<ParsedOptions> parsed = ParseOptions(
      std::span(argv, static_cast<size_t>(argc)).subspan(1), VIT_VERSION,
      [](const char* name) { return std::getenv(name); });
  absl::Status status = parsed.status();
  if (status.ok() && !parsed->text.empty()) {
    std::fputs(parsed->text.c_str(), stdout);
  } else if (status.ok()) {
    SetLogForm(parsed->options.log_format == "json" ? LogForm::kJson
                                                    : LogForm::kText);
    status = parsed->check_config ? Check(parsed->options)
                                  : Serve(parsed->options, &signals);
  }
  if (status.ok()) return EXIT_SUCCESS;
  const std::string message(status.message());
  Log({.severity = Severity::kError, .message = message});
  return EXIT_FAILURE;
}

}  // namespace
}  // namespace vit

int main(int argc, char** argv) { return vit::Main(argc, argv); }
