#include "tests/hostile/bystanders.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <utility>

#include "tests/hostile/limits.h"
#include "tests/integration/server_process.h"
#include "tests/integration/test_set.h"

namespace vit::hostile {
namespace {

using Clock = std::chrono::steady_clock;
using vit::testing::TestSet;

// A kubelet probes about once a second; this is as impatient as can be without
// being a flood itself.
constexpr std::chrono::milliseconds kProbeInterval{20};
constexpr std::chrono::milliseconds kAskOver{20};
// After a failed call: a client that is refused comes back later.
constexpr std::chrono::milliseconds kBackOff{10};

double MsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start)
      .count();
}

// One call; empty if it was answered well, else what was wrong.
std::string Classify(v1::Classifier::Stub& stub) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kCallDeadline);
  v1::ClassifyRequest request;
  request.set_image(TestSet::Get().image(0));
  v1::ClassifyResponse response;
  const grpc::Status status = stub.Classify(&context, request, &response);
  if (!status.ok()) {
    return std::to_string(status.error_code()) + " " + status.error_message();
  }
  return response.label() == TestSet::Get().label(0) ? "" : "a wrong label";
}

}  // namespace

double Experience::P99Ms() const {
  if (latencies_ms.empty()) return 0;
  std::vector<double> sorted = latencies_ms;
  const auto rank =
      static_cast<size_t>(std::ceil(0.99 * static_cast<double>(sorted.size())));
  const auto place = sorted.begin() + static_cast<std::ptrdiff_t>(rank - 1);
  std::nth_element(sorted.begin(), place, sorted.end());
  return *place;
}

int HttpStatus(const std::string& address, const std::string& path) {
  const IsOver over = After(kProbePatience);
  Socket socket(address);
  if (!socket.Send("GET " + path +
                       " HTTP/1.1\r\nHost: localhost\r\n"
                       "Connection: close\r\n\r\n",
                   over)) {
    return 0;
  }
  constexpr std::string_view kVersion = "HTTP/1.1 ";
  constexpr size_t kStatusLine = kVersion.size() + 3;
  std::string answer;
  while (answer.size() < kStatusLine) {
    if (!socket.WaitForInput(over)) return 0;
    if (!socket.Receive(&answer, 4096) && answer.size() < kStatusLine) return 0;
  }
  if (!answer.starts_with(kVersion)) return 0;
  return std::atoi(answer.substr(kVersion.size(), 3).c_str());
}

Bystanders::Bystanders(const std::string& grpc_address,
                       std::string http_address)
    : stub_(v1::Classifier::NewStub(vit::testing::NewChannel(grpc_address))),
      http_address_(std::move(http_address)),
      caller_([this](const std::stop_token& stop) { Call(stop); }),
      prober_([this](const std::stop_token& stop) { Probe(stop); }) {}

Bystanders::~Bystanders() {
  caller_.request_stop();
  prober_.request_stop();
}

void Bystanders::Record(const std::function<void(Experience&)>& change) {
  {
    const std::lock_guard lock(mutex_);
    change(experience_);
  }
  changed_.notify_all();
}

void Bystanders::Call(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const Clock::time_point start = Clock::now();
    const std::string error = Classify(*stub_);
    const double took = MsSince(start);
    Record([&](Experience& experience) {
      ++total_calls_;
      ++experience.calls;
      if (error.empty()) {
        experience.latencies_ms.push_back(took);
      } else if (experience.call_errors++ == 0) {
        experience.first_call_error = error;
      }
    });
    if (error.empty()) continue;
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, stop, kBackOff, [] { return false; });
  }
}

void Bystanders::Probe(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    for (const std::string path : {"/healthz", "/readyz"}) {
      const Clock::time_point start = Clock::now();
      const int status = HttpStatus(http_address_, path);
      const double took = MsSince(start);
      Record([&](Experience& experience) {
        ++total_probes_;
        ++experience.probes;
        experience.slowest_probe_ms =
            std::max(experience.slowest_probe_ms, took);
        if (status != 200 && experience.probe_errors++ == 0) {
          experience.first_probe_error = path + ": " + std::to_string(status);
        }
      });
    }
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, stop, kProbeInterval, [] { return false; });
  }
}

// One call and one probe may have begun before the wait: they do not count.
void Bystanders::WaitForMore(int calls, int probes, const IsOver& over) {
  std::unique_lock lock(mutex_);
  const int last_call = total_calls_ + 1 + calls;
  const int last_probe = total_probes_ + 1 + 2 * probes;
  while (total_calls_ < last_call || total_probes_ < last_probe) {
    if (over()) return;
    changed_.wait_for(lock, kAskOver);
  }
}

Experience Bystanders::Take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(experience_, {});
}

}  // namespace vit::hostile
