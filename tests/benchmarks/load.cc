// vit-load: keeps calls in flight at a server for a while, or begins them at a
// rate, and prints as one line of JSON how many images were answered, how soon,
// and the client's CPU time. The images are those of the MNIST test set. A
// client that costs less than a load generator for every service, so that the
// server can be seen beside it.

#include <grpcpp/grpcpp.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/blocking_counter.h"
#include "client/idx.h"
#include "nlohmann/json.hpp"
#include "tests/benchmarks/open_loop.h"
#include "vit/v1/classifier.grpc.pb.h"

ABSL_FLAG(std::string, address, "127.0.0.1:50051", "The server, host:port");
ABSL_FLAG(std::string, method, "one",
          "one: Classify; batch: ClassifyBatch; stream: ClassifyStream");
ABSL_FLAG(int, calls, 2, "Calls or streams in flight");
ABSL_FLAG(int, images, 64, "Images of a batch, or in flight in a stream");
ABSL_FLAG(double, seconds, 5, "How long to send");
ABSL_FLAG(double, rate, 0,
          "Calls of one image that begin in a second, instead of so many in "
          "flight; --calls is then the number of connections");
ABSL_FLAG(int, deadline_ms, 5000, "How long each of these calls may take");

namespace vit {
namespace {

using client::IdxImages;
using Clock = std::chrono::steady_clock;

constexpr int kMostChannels = 8;

// What all calls share.
struct Load {
  bool Sending() const { return Clock::now() < end; }

  Clock::time_point end;
  std::atomic<int64_t> answered = 0;  // images
  std::atomic<int64_t> failed = 0;    // calls, or images of a stream
  absl::BlockingCounter* under_way = nullptr;
};

class Call {
 public:
  virtual ~Call() = default;
  virtual void Start() = 0;
  // Of the unary calls that were answered, from their start.
  virtual std::vector<float> LatenciesMs() const { return {}; }
};

// One unary call after another, with the same request.
template <typename Request, typename Response>
class UnaryCalls final : public Call {
 public:
  using Method =
      std::function<void(grpc::ClientContext*, const Request*, Response*,
                         std::function<void(grpc::Status)>)>;

  UnaryCalls(Load* load, Method method, Request request, int images)
      : load_(load),
        method_(std::move(method)),
        request_(std::move(request)),
        images_(images) {}

  void Start() override {
    context_ = std::make_unique<grpc::ClientContext>();
    started_ = Clock::now();
    method_(context_.get(), &request_, &response_,
            [this](const grpc::Status& status) { OnDone(status); });
  }

  std::vector<float> LatenciesMs() const override { return latencies_ms_; }

 private:
  void OnDone(const grpc::Status& status) {
    if (status.ok()) {
      load_->answered += images_;
      const std::chrono::duration<float, std::milli> took =
          Clock::now() - started_;
      latencies_ms_.push_back(took.count());
    } else {
      ++load_->failed;
    }
    if (load_->Sending()) return Start();
    load_->under_way->DecrementCount();
  }

  Load* const load_;
  const Method method_;
  const Request request_;
  const int images_;
  Response response_;
  std::unique_ptr<grpc::ClientContext> context_;
  Clock::time_point started_;
  std::vector<float> latencies_ms_;
};

// A stream that sends as long as fewer than `images` are in flight.
class StreamCall final
    : public Call,
      public grpc::ClientBidiReactor<v1::ClassifyStreamRequest,
                                     v1::ClassifyStreamResponse> {
 public:
  StreamCall(Load* load, v1::Classifier::Stub* stub, std::string image,
             int images)
      : load_(load), stub_(stub), images_(images) {
    request_.set_image(std::move(image));
  }

  void Start() override {
    stub_->async()->ClassifyStream(&context_, this);
    in_flight_ = 1;
    StartWrite(&request_);
    StartRead(&response_);
    // Writes are also started where an answer is read.
    AddHold();
    StartCall();
  }

  void OnWriteDone(bool ok) override {
    writing_ = false;
    if (ok) Write();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return RemoveHold();
    if (response_.has_response()) {
      ++load_->answered;
    } else {
      ++load_->failed;
    }
    --in_flight_;
    Write();
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    if (!status.ok()) ++load_->failed;
    load_->under_way->DecrementCount();
  }

 private:
  // Sends one image unless a write is under way or enough are in flight.
  void Write() {
    if (in_flight_ >= images_ || writing_.exchange(true)) return;
    if (load_->Sending()) {
      ++in_flight_;
      StartWrite(&request_);
    } else {
      StartWritesDone();  // and writing_ stays set
    }
  }

  Load* const load_;
  v1::Classifier::Stub* const stub_;
  const int images_;
  grpc::ClientContext context_;
  v1::ClassifyStreamRequest request_;
  v1::ClassifyStreamResponse response_;
  std::atomic<int> in_flight_ = 0;
  std::atomic<bool> writing_ = true;  // the first is under way from the start
};

using Stubs = std::vector<std::unique_ptr<v1::Classifier::Stub>>;

// Stubs that share no connection.
Stubs Connect(const std::string& address, int count) {
  Stubs stubs;
  for (int i = 0; i < count; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stubs.push_back(v1::Classifier::NewStub(grpc::CreateCustomChannel(
        address, grpc::InsecureChannelCredentials(), arguments)));
  }
  return stubs;
}

std::string Pixels(const IdxImages& images, int index) {
  const auto image = images.image(index % images.count);
  return std::string(image.begin(), image.end());
}

// The call of this number by --method; null if there is no such method.
std::unique_ptr<Call> NewCall(int number, const IdxImages& source,
                              v1::Classifier::Stub* stub, Load* load) {
  const std::string method = absl::GetFlag(FLAGS_method);
  const int images = absl::GetFlag(FLAGS_images);
  if (method == "one") {
    v1::ClassifyRequest request;
    request.set_image(Pixels(source, number));
    return std::make_unique<
        UnaryCalls<v1::ClassifyRequest, v1::ClassifyResponse>>(
        load,
        [stub](auto... arguments) { stub->async()->Classify(arguments...); },
        std::move(request), 1);
  }
  if (method == "batch") {
    v1::ClassifyBatchRequest request;
    for (int i = 0; i < images; ++i) {
      request.add_images(Pixels(source, number * images + i));
    }
    return std::make_unique<
        UnaryCalls<v1::ClassifyBatchRequest, v1::ClassifyBatchResponse>>(
        load,
        [stub](auto... arguments) {
          stub->async()->ClassifyBatch(arguments...);
        },
        std::move(request), images);
  }
  if (method == "stream") {
    return std::make_unique<StreamCall>(load, stub, Pixels(source, number),
                                        images);
  }
  return nullptr;
}

double CpuSeconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) +
           1e-6 * static_cast<double>(time.tv_usec);
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

// The smallest latency that at least this share does not exceed.
double Percentile(const std::vector<float>& ordered, double share) {
  if (ordered.empty()) return 0;
  const double count = static_cast<double>(ordered.size());
  const auto rank = static_cast<size_t>(std::ceil(share * count));
  return ordered[std::max<size_t>(rank, 1) - 1];
}

nlohmann::json Percentiles(std::vector<float> latencies_ms) {
  std::sort(latencies_ms.begin(), latencies_ms.end());
  return {{"p50_ms", Percentile(latencies_ms, 0.5)},
          {"p90_ms", Percentile(latencies_ms, 0.9)},
          {"p99_ms", Percentile(latencies_ms, 0.99)},
          {"p99.9_ms", Percentile(latencies_ms, 0.999)}};
}

// Keeps as many calls in flight as were asked for.
absl::StatusOr<nlohmann::json> RunClosed(const IdxImages& source,
                                         const Stubs& stubs,
                                         std::chrono::duration<double> time) {
  const int count = absl::GetFlag(FLAGS_calls);
  absl::BlockingCounter under_way(count);
  Load load;
  load.under_way = &under_way;
  std::vector<std::unique_ptr<Call>> calls;
  for (int i = 0; i < count; ++i) {
    calls.push_back(NewCall(i, source, stubs[i % stubs.size()].get(), &load));
    if (calls.back() == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("--method: expected one, batch or stream, found '",
                       absl::GetFlag(FLAGS_method), "'"));
    }
  }
  load.end = Clock::now() + std::chrono::duration_cast<Clock::duration>(time);
  for (const auto& call : calls) call->Start();
  under_way.Wait();
  std::vector<float> latencies_ms;
  for (const auto& call : calls) {
    const std::vector<float> more = call->LatenciesMs();
    latencies_ms.insert(latencies_ms.end(), more.begin(), more.end());
  }
  nlohmann::json result = Percentiles(std::move(latencies_ms));
  result["images"] = load.answered.load();
  result["failed"] = load.failed.load();
  return result;
}

nlohmann::json RunOpen(const IdxImages& source, const Stubs& stubs,
                       std::chrono::duration<double> time) {
  v1::ClassifyRequest request;
  request.set_image(Pixels(source, 0));
  OpenLoop loop(stubs, std::move(request),
                std::chrono::milliseconds(absl::GetFlag(FLAGS_deadline_ms)));
  loop.Run(absl::GetFlag(FLAGS_rate), time);
  nlohmann::json result = Percentiles(loop.LatenciesMs());
  int64_t all = 0;
  for (size_t code = 0; code < OpenLoop::kCodes; ++code) {
    const int64_t answers = loop.answers()[code];
    all += answers;
    if (answers == 0) continue;
    const auto status = static_cast<absl::StatusCode>(code);
    result["statuses"][absl::StatusCodeToString(status)] = answers;
  }
  result["images"] = loop.answers()[0].load();
  result["failed"] = all - loop.answers()[0];
  return result;
}

absl::Status Run() {
  const int count = absl::GetFlag(FLAGS_calls);
  if (count < 1 || absl::GetFlag(FLAGS_images) < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("--calls and --images: expected 1 or more, found ", count,
                     " and ", absl::GetFlag(FLAGS_images)));
  }
  const auto source =
      client::ReadIdxImages("tests/data/mnist/t10k-images-idx3-ubyte.gz");
  if (!source.ok()) return source.status();
  const Stubs stubs =
      Connect(absl::GetFlag(FLAGS_address), std::min(count, kMostChannels));
  const std::chrono::duration<double> time(absl::GetFlag(FLAGS_seconds));

  const double cpu = CpuSeconds();
  const Clock::time_point start = Clock::now();
  absl::StatusOr<nlohmann::json> result = absl::GetFlag(FLAGS_rate) > 0
                                              ? RunOpen(*source, stubs, time)
                                              : RunClosed(*source, stubs, time);
  if (!result.ok()) return result.status();
  const std::chrono::duration<double> took = Clock::now() - start;
  (*result)["seconds"] = took.count();
  (*result)["cpu_seconds"] = CpuSeconds() - cpu;
  std::printf("%s\n", result->dump().c_str());
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  absl::SetProgramUsageMessage("loads a server; see tests/benchmarks/load.cc");
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = Run();
  if (status.ok()) return EXIT_SUCCESS;
  std::fprintf(stderr, "error: %s\n", std::string(status.message()).c_str());
  return EXIT_FAILURE;
}

}  // namespace
}  // namespace vit

int main(int argc, char** argv) { return vit::Main(argc, argv); }
