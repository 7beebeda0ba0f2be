#include "tests/benchmarks/open_loop.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <thread>
#include <utility>

namespace vit {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::microseconds kTick{200};

struct OneCall {
  grpc::ClientContext context;
  v1::ClassifyResponse response;
  Clock::time_point sent;
};

}  // namespace

OpenLoop::OpenLoop(std::span<const std::unique_ptr<Stub>> stubs,
                   v1::ClassifyRequest request,
                   std::chrono::microseconds deadline)
    : stubs_(stubs), request_(std::move(request)), deadline_(deadline) {}

void OpenLoop::Run(double calls_per_second,
                   std::chrono::duration<double> seconds) {
  latencies_ms_.resize(static_cast<size_t>(calls_per_second * seconds.count()));
  const Clock::time_point start = Clock::now();
  size_t sent = 0;
  while (sent < latencies_ms_.size()) {
    const std::chrono::duration<double> passed = Clock::now() - start;
    if (passed > seconds) break;
    const auto due = static_cast<size_t>(passed.count() * calls_per_second);
    if (sent < due) {
      Send(sent++);
    } else {
      std::this_thread::sleep_for(kTick);
    }
  }
  while (unfinished_ > 0) std::this_thread::sleep_for(kTick);
}

void OpenLoop::Send(size_t number) {
  auto owned = std::make_unique<OneCall>();
  OneCall* call = owned.get();
  call->context.set_deadline(std::chrono::system_clock::now() + deadline_);
  call->sent = Clock::now();
  ++unfinished_;
  stubs_[number % stubs_.size()]->async()->Classify(
      &call->context, &request_, &call->response,
      [this, number, call = owned.release()](const grpc::Status& status) {
        std::unique_ptr<OneCall> finished(call);
        ++answers_[std::min<size_t>(status.error_code(), kCodes - 1)];
        if (status.ok()) {
          const std::chrono::duration<float, std::milli> took =
              Clock::now() - finished->sent;
          latencies_ms_[number] = took.count();
        }
        finished.reset();
        // The last: who waits for it may destroy this, and end the program.
        --unfinished_;
      });
}

std::vector<float> OpenLoop::LatenciesMs() const {
  std::vector<float> answered;
  std::copy_if(latencies_ms_.begin(), latencies_ms_.end(),
               std::back_inserter(answered),
               [](float latency) { return latency > 0; });
  return answered;
}

}  // namespace vit
