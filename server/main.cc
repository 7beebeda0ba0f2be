// vit-server: serves a Vision Transformer over gRPC. Parts are put together
// here; each has its own place.

#include <pthread.h>
#include <signal.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "model/model_loader.h"
#include "server/batching/cpu_quota.h"
#include "server/options/options.h"
#include "server/server.h"
#include "server/telemetry/log.h"
#include "server/telemetry/process_metrics.h"

namespace vit {
namespace {

// The address as it was given, with the port that was picked.
std::string BoundAddress(const std::string& address, int port) {
  return absl::StrCat(address.substr(0, address.rfind(':')), ":", port);
}

// Blocks the signals that end the server, in this thread and those that it
// starts, so that one thread can wait for them.
sigset_t BlockEndSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return signals;
}

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

absl::Status Serve(const ServerOptions& options, const sigset_t& signals) {
  const Clock::time_point start = Clock::now();
  const auto registry = std::make_shared<prometheus::Registry>();
  absl::StatusOr<std::unique_ptr<HttpServer>> http = HttpServer::Start(
      options.http_address, {registry, std::make_shared<ProcessMetrics>()});
  if (!http.ok()) return http.status();
  Log(absl::StrCat("HTTP listening on ",
                   BoundAddress(options.http_address, (*http)->port())));

  const int workers = options.workers > 0 ? options.workers : GrantedCpus();
  LogChoices(options, workers);
  absl::StatusOr<LoadedModel> loaded = LoadAndLogModel(options, workers);
  if (!loaded.ok()) return loaded.status();

  const std::map<std::string, std::string> build = {
      {"version", VIT_VERSION},
      {"compiler", VIT_COMPILER},
      {"kernels", VitModel::Platform()},
      {"precision", PrecisionName(loaded->precision)}};
  absl::StatusOr<std::unique_ptr<Server>> server =
      Server::Start(options, std::move(loaded->classifiers), build,
                    registry.get(), http->get());
  if (!server.ok()) return server.status();
  Log(absl::StrCat("gRPC listening on ",
                   BoundAddress(options.address, (*server)->port())));
  const std::chrono::duration<double, std::milli> took = Clock::now() - start;
  Log(absl::StrFormat("ready after %.0f ms", took.count()));

  int signal = 0;
  sigwait(&signals, &signal);
  Log(absl::StrCat("signal ", signal, ": finishing what was accepted"));
  // A second signal ends the process without waiting.
  std::thread([signals] {
    int second = 0;
    sigwait(&signals, &second);
    Log("second signal: leaving at once");
    std::_Exit(1);
  }).detach();
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
  const sigset_t signals = BlockEndSignals();
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
                                  : Serve(parsed->options, signals);
  }
  if (status.ok()) return EXIT_SUCCESS;
  Log(absl::StrCat("error: ", std::string(status.message())));
  return EXIT_FAILURE;
}

}  // namespace
}  // namespace vit

int main(int argc, char** argv) { return vit::Main(argc, argv); }
