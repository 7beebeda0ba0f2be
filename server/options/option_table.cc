#include "server/options/option_table.h"

#include <cctype>

namespace vit {
namespace {

using Form = OptionForm;

constexpr int kMaxSeconds = 86'400;
constexpr int kMaxMilliseconds = 86'400'000;

constexpr const char* kPrecisions[] = {"auto", "f32", "bf16", "int8"};
constexpr const char* kLogFormats[] = {"text", "json"};

constexpr OptionSpec Text(const char* name, std::string ServerOptions::* member,
                          Form form, const char* unit, const char* help) {
  return {name, member, form, help, unit};
}

constexpr OptionSpec Choice(const char* name,
                            std::string ServerOptions::* member,
                            std::span<const char* const> choices,
                            const char* help) {
  return {name, member, Form::kChoice, help, "CHOICE", 0, 0, choices};
}

constexpr OptionSpec Integer(const char* name, int ServerOptions::* member,
                             int low, int high, const char* unit,
                             const char* help) {
  return {name, member, Form::kInteger, help, unit, low, high};
}

constexpr OptionSpec Switch(const char* name, bool ServerOptions::* member,
                            const char* help) {
  return {name, member, Form::kSwitch, help, "true|false"};
}

constexpr OptionSpec kModelOptions[] = {
    Text("model", &ServerOptions::model, Form::kText, "FILE",
         "Weights, a safetensors file."),
    Text("model_repository", &ServerOptions::model_repository, Form::kAnyText,
         "FOLDER",
         "Folder of more models, each NAME/VERSION/model.safetensors. Empty: "
         "none."),
    Text("golden", &ServerOptions::golden, Form::kAnyText, "FILE",
         "Golden images that the model must get right before the server is "
         "ready. Empty: NAME.golden.safetensors beside the weights. none: no "
         "check."),
    Choice("precision", &ServerOptions::precision, kPrecisions,
           "What matrix products are computed in. auto: the first of int8, "
           "bf16 and f32 that the model, this CPU and the golden images "
           "allow."),
    Integer("versions", &ServerOptions::versions, 1, 64, "VERSIONS",
            "How many of the latest versions of each model are kept."),
    Integer("canary_percent", &ServerOptions::canary_percent, 0, 100, "PERCENT",
            "Share of a model's calls that its canary version gets. 0: none."),
    Integer("model_poll_seconds", &ServerOptions::model_poll_seconds, 0,
            kMaxSeconds, "SECONDS",
            "How often the repository is searched for new versions. 0: "
            "never.")};

constexpr OptionSpec kAddressOptions[] = {
    Text("address", &ServerOptions::address, Form::kAddress, "ADDRESS",
         "Where gRPC listens. Port 0 picks a free port, here and below."),
    Text("http_address", &ServerOptions::http_address, Form::kAddress,
         "ADDRESS", "Where HTTP listens: probes and metrics."),
    Text("admin_address", &ServerOptions::admin_address, Form::kAddressOrOff,
         "ADDRESS", "Where the admin service, gRPC, listens. Empty: off."),
    Text("debug_address", &ServerOptions::debug_address, Form::kAddressOrOff,
         "ADDRESS", "Where HTTP's /debug pages are. Empty: off."),
    Switch("reflection", &ServerOptions::reflection,
           "Whether gRPC tells clients which services there are.")};

constexpr OptionSpec kWorkOptions[] = {
    Integer("workers", &ServerOptions::workers, 0, 1024, "THREADS",
            "Threads that compute. 0: as many as the CPUs that the control "
            "group grants."),
    Integer("max_batch_size", &ServerOptions::max_batch_size, 1, 1024, "IMAGES",
            "Most images computed together."),
    Integer("max_queue_delay_us", &ServerOptions::max_queue_delay_us, 0,
            10'000'000, "MICROSECONDS",
            "How long an image may wait, from its arrival, for others to share "
            "its batch. 0: a free worker never waits."),
    Integer("max_queue_size", &ServerOptions::max_queue_size, 1, 1'000'000,
            "IMAGES",
            "Most images that wait, at least max_batch_size. More are rejected "
            "at once."),
    Integer("max_images_per_call", &ServerOptions::max_images_per_call, 1,
            1'000'000, "IMAGES",
            "Most images in one call, at most max_queue_size. The default is "
            "max_queue_size if that is less."),
    Integer("max_explanations", &ServerOptions::max_explanations, 1, 1024,
            "CALLS", "Most Explain calls under way at once.")};

constexpr OptionSpec kConnectionOptions[] = {
    Integer("max_calls_per_connection",
            &ServerOptions::max_calls_per_connection, 0, 1'000'000, "CALLS",
            "Most calls that one connection may have under way, health watches "
            "and streams included. More wait with the client. 0: enough for "
            "two full batches for each worker, at least 100."),
    Integer("max_connections", &ServerOptions::max_connections, 0, 1'000'000,
            "CONNECTIONS",
            "Most connections. 0: as many as the memory budget and the file "
            "descriptors allow."),
    Integer("memory_budget_mb", &ServerOptions::memory_budget_mb, 0, 16'777'216,
            "MB",
            "Most memory that peers may make the server hold. 0: half of the "
            "control group's memory, at most 160 MiB."),
    Integer("connection_idle_seconds", &ServerOptions::connection_idle_seconds,
            0, kMaxSeconds, "SECONDS",
            "How long a connection may have no call. 0: no limit."),
    Integer("connection_age_seconds", &ServerOptions::connection_age_seconds, 0,
            kMaxSeconds, "SECONDS",
            "How old a connection may become, so that clients balance their "
            "load again. 0: no limit."),
    Integer("connection_age_grace_seconds",
            &ServerOptions::connection_age_grace_seconds, 0, kMaxSeconds,
            "SECONDS",
            "How long calls may go on when their connection has become too "
            "old."),
    Integer("keepalive_seconds", &ServerOptions::keepalive_seconds, 1,
            kMaxSeconds, "SECONDS",
            "How long a connection may be silent before the server pings it."),
    Integer("message_timeout_seconds", &ServerOptions::message_timeout_seconds,
            1, kMaxSeconds, "SECONDS",
            "How long a client may take to send one message."),
    Integer("write_timeout_seconds", &ServerOptions::write_timeout_seconds, 1,
            kMaxSeconds, "SECONDS",
            "How long an answer may wait for its client to read it.")};

constexpr OptionSpec kDeadlineOptions[] = {
    Integer("default_deadline_ms", &ServerOptions::default_deadline_ms, 0,
            kMaxMilliseconds, "MILLISECONDS",
            "Deadline of a call that has none, at most max_deadline_ms. 0: "
            "none. The default is max_deadline_ms if that is less."),
    Integer("max_deadline_ms", &ServerOptions::max_deadline_ms, 0,
            kMaxMilliseconds, "MILLISECONDS",
            "Longest deadline that a call may have. 0: no limit.")};

constexpr OptionSpec kLifeOptions[] = {
    Integer("lame_duck_seconds", &ServerOptions::lame_duck_seconds, 0, 3600,
            "SECONDS",
            "How long a server that shuts down says that it is not ready, but "
            "still accepts calls."),
    Integer("drain_timeout_seconds", &ServerOptions::drain_timeout_seconds, 0,
            3600, "SECONDS",
            "How long a shutdown then lets accepted calls finish."),
    Integer("watchdog_seconds", &ServerOptions::watchdog_seconds, 0, 3600,
            "SECONDS",
            "How long a thread may make no progress before the server counts "
            "as stuck. 0: off.")};

constexpr OptionSpec kSecurityOptions[] = {
    Text("tls_certificate", &ServerOptions::tls_certificate, Form::kAnyText,
         "FILE",
         "The server's certificate chain, PEM. Only with tls_key. Empty: plain "
         "text."),
    Text("tls_key", &ServerOptions::tls_key, Form::kAnyText, "FILE",
         "The certificate's private key, PEM."),
    Text("tls_client_ca", &ServerOptions::tls_client_ca, Form::kAnyText, "FILE",
         "The authority, PEM, that must have signed each client's certificate. "
         "Only with tls_certificate. Empty: clients need no certificate."),
    Text("tokens", &ServerOptions::tokens, Form::kAnyText, "FILE",
         "Who may call at address: a line NAME SHA256 [rate=CALLS_PER_SECOND] "
         "[share=N] [methods=METHOD,METHOD] for each token, with the token's "
         "digest. Read again when it changes. Empty: calls need no token.")};

constexpr OptionSpec kLogOptions[] = {
    Choice("log_format", &ServerOptions::log_format, kLogFormats,
           "Form of the log's lines."),
    Integer("slow_request_ms", &ServerOptions::slow_request_ms, 0,
            kMaxMilliseconds, "MILLISECONDS",
            "Requests that take longer are logged. 0: off.")};

constexpr OptionGroup kGroups[] = {
    {"Models", kModelOptions},       {"Addresses", kAddressOptions},
    {"Work", kWorkOptions},          {"Connections", kConnectionOptions},
    {"Deadlines", kDeadlineOptions}, {"Shutdown and watchdog", kLifeOptions},
    {"Security", kSecurityOptions},  {"Logs", kLogOptions}};

}  // namespace

std::span<const OptionGroup> OptionGroups() { return kGroups; }

const OptionSpec* FindOption(const std::string& name) {
  for (const OptionGroup& group : kGroups) {
    for (const OptionSpec& spec : group.options) {
      if (spec.name == name) return &spec;
    }
  }
  return nullptr;
}

std::string VariableName(const std::string& name) {
  std::string variable = "VIT_";
  for (const char c : name) {
    variable += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  }
  return variable;
}

}  // namespace vit
