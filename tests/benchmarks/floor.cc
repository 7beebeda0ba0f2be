// vit-floor: a server of vit.v1.Classifier that computes nothing: what gRPC
// alone costs. It listens as vit-server does and answers every image at once
// with an answer of the usual size; or, where it should show what would be left
// of the floor with nothing but the computation added, after as much CPU time
// as that takes.

#include <grpcpp/grpcpp.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/synchronization/mutex.h"
#include "vit/v1/classifier.grpc.pb.h"

ABSL_FLAG(std::string, address, "127.0.0.1:0",
          "Where gRPC listens, host:port; port 0 picks one");
ABSL_FLAG(double, compute_us, 0,
          "Microseconds of CPU time that an image of a Classify call takes");

namespace vit {
namespace {

// Keeps the calling thread busy for so much of its CPU time.
void Compute(std::chrono::duration<double> time) {
  const auto used = [] {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return std::chrono::seconds(now.tv_sec) +
           std::chrono::nanoseconds(now.tv_nsec);
  };
  const auto start = used();
  while (used() - start < time) {
  }
}

v1::ClassifyResponse UsualAnswer() {
  v1::ClassifyResponse answer;
  answer.set_label(7);
  answer.set_confidence(0.91f);
  for (int i = 0; i < 10; ++i) answer.add_probabilities(i == 7 ? 0.91f : 0.01f);
  v1::Timing* timing = answer.mutable_timing();
  timing->set_queue_seconds(1e-5);
  timing->set_inference_seconds(1e-4);
  timing->set_total_seconds(1.2e-4);
  timing->set_batch_size(1);
  return answer;
}

// Answers each image of a stream before it reads the next. Destroys itself
// when gRPC is done with it.
class StreamCall final
    : public grpc::ServerBidiReactor<v1::ClassifyStreamRequest,
                                     v1::ClassifyStreamResponse> {
 public:
  explicit StreamCall(const v1::ClassifyResponse& answer) {
    *response_.mutable_response() = answer;
    StartRead(&request_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::OK);
    response_.set_id(request_.id());
    StartWrite(&response_);
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::CANCELLED);
    StartRead(&request_);
  }

  void OnDone() override { delete this; }

 private:
  v1::ClassifyStreamRequest request_;
  v1::ClassifyStreamResponse response_;
};

class FloorService final : public v1::Classifier::CallbackService {
 public:
  grpc::ServerUnaryReactor* Classify(grpc::CallbackServerContext* context,
                                     const v1::ClassifyRequest* /*request*/,
                                     v1::ClassifyResponse* response) override {
    *response = answer_;
    if (compute_.count() > 0) Compute(compute_);
    return Finished(context);
  }

  grpc::ServerUnaryReactor* ClassifyBatch(
      grpc::CallbackServerContext* context,
      const v1::ClassifyBatchRequest* request,
      v1::ClassifyBatchResponse* response) override {
    for (int i = 0; i < request->images_size(); ++i) {
      *response->add_results() = answer_;
    }
    return Finished(context);
  }

  grpc::ServerBidiReactor<v1::ClassifyStreamRequest,
                          v1::ClassifyStreamResponse>*
  ClassifyStream(grpc::CallbackServerContext* /*context*/) override {
    return std::make_unique<StreamCall>(answer_).release();
  }

 private:
  static grpc::ServerUnaryReactor* Finished(
      grpc::CallbackServerContext* context) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

  const v1::ClassifyResponse answer_ = UsualAnswer();
  const std::chrono::duration<double, std::micro> compute_{
      absl::GetFlag(FLAGS_compute_us)};
};

int Main(int argc, char** argv) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  // As vit-server does.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  absl::SetProgramUsageMessage("answers every image without looking at it.");
  absl::ParseCommandLine(argc, argv);
  const std::string address = absl::GetFlag(FLAGS_address);
  FloorService service;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddListeningPort(address, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    std::fprintf(stderr, "error: cannot listen for gRPC on %s\n",
                 address.c_str());
    return EXIT_FAILURE;
  }
  std::fprintf(stderr, "gRPC listening on %s:%d\n",
               address.substr(0, address.rfind(':')).c_str(), port);
  int signal = 0;
  sigwait(&signals, &signal);
  server->Shutdown(std::chrono::system_clock::now());
  return EXIT_SUCCESS;
}

}  // namespace
}  // namespace vit

int main(int argc, char** argv) { return vit::Main(argc, argv); }
