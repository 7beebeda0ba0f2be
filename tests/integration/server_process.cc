#include "tests/integration/server_process.h"

#include <grpc/grpc.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <signal.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <sstream>
#include <utility>
#include <vector>

namespace vit::testing {
namespace {

// The word after `text` in a line; empty if it is not there.
std::string WordAfter(const std::string& line, const std::string& text) {
  const size_t found = line.find(text);
  if (found == std::string::npos) return "";
  std::istringstream rest(line.substr(found + text.size()));
  std::string word;
  rest >> word;
  return word;
}

}  // namespace

std::string ModelPath() {
  return VIT_SOURCE_DIR "/model/weights/mnist-vit.safetensors";
}

bool WaitUntil(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= deadline) return false;
  }
  return true;
}

void SetPatience(grpc::ClientContext* context) {
  context->set_deadline(std::chrono::system_clock::now() + kPatience);
}

std::shared_ptr<grpc::Channel> NewChannel(const std::string& address) {
  // gRPC would end its threads with the last channel, which can take it ten
  // seconds: this keeps it going.
  static std::once_flag once;
  std::call_once(once, grpc_init);
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(std::numeric_limits<int>::max());
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(),
                                   arguments);
}

std::vector<std::string> ServerCommand(
    const std::vector<std::string>& flags,
    const std::vector<std::string>& launcher) {
  std::vector<std::string> command = launcher;
  command.emplace_back(VIT_BIN_DIR "/vit-server");
  command.push_back("--model=" + ModelPath());
  for (const char* flag :
       {"--address=127.0.0.1:0", "--http_address=127.0.0.1:0",
        "--admin_address=127.0.0.1:0", "--debug_address=127.0.0.1:0",
        "--lame_duck_seconds=0"}) {
    command.emplace_back(flag);
  }
  command.insert(command.end(), flags.begin(), flags.end());
  return command;
}

ServerProcess::ServerProcess(const std::vector<std::string>& flags,
                             const std::vector<std::string>& environment,
                             const std::vector<std::string>& launcher)
    : process_(ServerCommand(flags, launcher), environment) {
  http_address_ =
      WordAfter(process_.WaitForLine("HTTP listening on "), "listening on ");
  grpc_address_ =
      WordAfter(process_.WaitForLine("gRPC listening on "), "listening on ");
  if (process_.WaitForLine("ready after ").empty() || http_address_.empty() ||
      grpc_address_.empty()) {
    ADD_FAILURE() << "the server did not become ready:\n" << process_.output();
    return;
  }
  channel_ = NewChannel(grpc_address_);
  stub_ = v1::Classifier::NewStub(channel_);
}

grpc::Status ServerProcess::Classify(const std::string& image,
                                     v1::ClassifyResponse* response) const {
  grpc::ClientContext context;
  SetPatience(&context);
  v1::ClassifyRequest request;
  request.set_image(image);
  return stub_->Classify(&context, request, response);
}

ServerProcess::HttpAnswer ServerProcess::HttpGet(
    const std::string& path) const {
  httplib::Client client("http://" + http_address_);
  client.set_connection_timeout(kPatience);
  client.set_read_timeout(kPatience);
  const httplib::Result result = client.Get(path);
  if (!result) return {};
  return {.status = result->status, .body = result->body};
}

double ServerProcess::Metric(const std::string& series) const {
  const size_t brace = series.find('{');
  const std::string name = series.substr(0, brace);
  std::vector<std::string> labels;
  if (brace != std::string::npos) {
    std::istringstream list(
        series.substr(brace + 1, series.size() - brace - 2));
    for (std::string label; std::getline(list, label, ',');) {
      labels.push_back(label);
    }
  }
  double sum = std::nan("");
  std::istringstream lines(HttpGet("/metrics").body);
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(name + "{") && !line.starts_with(name + " ")) {
      continue;
    }
    const bool matches =
        std::all_of(labels.begin(), labels.end(), [&](const auto& label) {
          return line.find(label) != std::string::npos;
        });
    if (!matches) continue;
    const double value = std::strtod(line.c_str() + line.rfind(' '), nullptr);
    sum = std::isnan(sum) ? value : sum + value;
  }
  return sum;
}

bool ServerProcess::WaitForMetric(const std::string& series,
                                  double least) const {
  return WaitUntil([&] { return Metric(series) >= least; });
}

int ServerProcess::Terminate() {
  Signal(SIGTERM);
  return Wait();
}

}  // namespace vit::testing
