// vit-server: serves a Vision Transformer over gRPC. Parts are put together
// here; each has its own place.

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
#include "model/model_loader.h"
#include "server/base/serving_state.h"
#include "server/http/http_server.h"
#include "server/http/probes.h"
#include "server/limits/cpu_quota.h"
#include "server/limits/memory_budget.h"
#include "server/options/options.h"
#include "server/server.h"
#include "server/signals.h"
#include "server/telemetry/log.h"
#include "server/telemetry/process_metrics.h"

namespace vit {
namespace {

// EX_SOFTWARE of sysexits.h: what the watchdog ends a hung server with.
constexpr int kExitHung = 70;

absl::StatusOr<LoadedModel> LoadAndLogModel(const ServerOptions& options,
                                            int workers) {
  const auto precision = ParsePrecision(options.precision);
  if (!precision.ok()) return precision.status();
  absl::StatusOr<LoadedModel> loaded =
      LoadModel({.model = options.model,
                 .golden = options.golden,
                 .max_batch_size = options.max_batch_size,
                 .precision = *precision},
                workers);
  if (!loaded.ok()) return loaded.status();
  const ModelInfo& info = loaded->model->info();
  Log(absl::StrFormat(
      "model %s version %s from %s: %d x %d x %d images, patches of %d, "
      "%d tokens, %d layers, %d heads, %d classes",
      info.name, info.version, options.model, info.image.height,
      info.image.width, info.image.channels, info.patch_size, info.tokens,
      info.layers, info.heads, info.labels.size()));
  for (const std::string& note : loaded->notes) Log(note);
  return loaded;
}

void LogChoices(const ServerOptions& options, int workers) {
  Log(absl::StrFormat(
      "workers %d (CPUs granted: %d), largest batch %d, queue delay %d us, "
      "queue size %d",
      workers, GrantedCpus(), options.max_batch_size,
      options.max_queue_delay_us, options.max_queue_size));
  Log(absl::StrCat("kernels: ", VitModel::Platform()));
}

MemoryBudget BudgetFor(const ServerOptions& options, const ModelInfo& info) {
  const int64_t matrices = int64_t{info.layers} * info.heads + 1;
  return MakeMemoryBudget(
      {.granted = GrantedMemory(),
       .wanted = int64_t{options.memory_budget_mb} << 20,
       .descriptors = RaiseDescriptorLimit(),
       .image_bytes = info.image.size(),
       .explanation_bytes = matrices * info.tokens * info.tokens *
                            static_cast<int64_t>(sizeof(float)),
       .max_images_per_call = options.max_images_per_call,
       .max_queue_size = options.max_queue_size,
       .max_explanations = options.max_explanations,
       .max_connections = options.max_connections});
}

void EndHungServer(const std::string& what) {
  Log(absl::StrCat("error: ", what, ": ending, so that another can start"));
  std::_Exit(kExitHung);
}

absl::Status Serve(const ServerOptions& options, Signals* signals) {
  const Clock::time_point start = Clock::now();
  const auto registry = std::make_shared<prometheus::Registry>();
  ServingState state;
  std::vector<HttpRoute> routes = ProbeRoutes(&state);
  routes.push_back(
      MetricsRoute({registry, std::make_shared<ProcessMetrics>()}));
  const absl::StatusOr<std::unique_ptr<HttpServer>> http =
      HttpServer::Start(options.http_address, std::move(routes));
  if (!http.ok()) return http.status();
  Log(absl::StrCat("HTTP listening on ", (*http)->address()));

  const int workers = options.workers > 0 ? options.workers : GrantedCpus();
  LogChoices(options, workers);
  absl::StatusOr<LoadedModel> loaded = LoadAndLogModel(options, workers);
  if (!loaded.ok()) return loaded.status();

  Metrics metrics(registry.get(),
                  {{"version", VIT_VERSION},
                   {"compiler", VIT_COMPILER},
                   {"kernels", VitModel::Platform()},
                   {"precision", PrecisionName(loaded->precision)}});
  WorkerPool pool(workers, options.max_batch_size);
  ModelQueueOptions queue_options;
  queue_options.policy.max_batch_size = options.max_batch_size;
  queue_options.policy.max_queue_delay =
      std::chrono::microseconds(options.max_queue_delay_us);
  queue_options.max_queue_size = options.max_queue_size;
  const ModelInfo info = loaded->model->info();
  const std::shared_ptr<ModelQueue> queue =
      ModelQueue::Create(&pool, queue_options, std::move(loaded->classifiers),
                         metrics.ForModel(info));
  const MemoryBudget budget = BudgetFor(options, info);
  Log(absl::StrCat("limits:\n", budget.ToText()));
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Start(
      options, {.state = &state,
                .pool = &pool,
                .metrics = &metrics,
                .pick_model = [queue](const std::string&, const std::string&)
                    -> absl::StatusOr<std::shared_ptr<ModelQueue>> {
                  return queue;
                },
                .budget = budget,
                .on_hung = EndHungServer});
  if (!server.ok()) return server.status();
  Log(absl::StrCat("gRPC listening on ", (*server)->address()));
  const std::chrono::duration<double, std::milli> took = Clock::now() - start;
  Log(absl::StrFormat("ready after %.0f ms", took.count()));

  signals->StartServing(nullptr);
  signals->WaitForEnd();
  if (!(*server)->Drain()) {
    return absl::DeadlineExceededError(
        absl::StrCat("calls were cut off after --drain_timeout_seconds=",
                     options.drain_timeout_seconds));
  }
  Log("all done");
  return absl::OkStatus();
}

// Loads the model as serving would, for its errors.
absl::Status CheckModel(const ServerOptions& options) {
  const absl::StatusOr<LoadedModel> loaded = LoadAndLogModel(options, 1);
  if (loaded.ok()) std::puts("configuration is valid");
  return loaded.status();
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
    status = parsed->check_config ? CheckModel(parsed->options)
                                  : Serve(parsed->options, &signals);
  }
  if (status.ok()) return EXIT_SUCCESS;
  Log(absl::StrCat("error: ", std::string(status.message())));
  return EXIT_FAILURE;
}

}  // namespace
}  // namespace vit

int main(int argc, char** argv) { return vit::Main(argc, argv); }
