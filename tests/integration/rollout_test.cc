#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/classifier_client.h"
#include "client/classify_stream.h"
#include "tests/client/unused_port.h"
#include "tests/integration/server_process.h"
#include "tests/integration/test_set.h"

// Replicas are restarted one after the other while clients go on. No client
// notices. VIT_ROLLOUT_ROUNDS says how often each is restarted, 1 by default.
namespace vit {
namespace {

using client::ClassifierClient;
using client::ClassifyStream;
using client::ClientOptions;
using testing::ServerProcess;
using testing::TestSet;
using testing::UnusedPort;

constexpr int kReplicas = 3;
constexpr int kInFlight = 32;
constexpr int kStreams = 4;
// So many answers come between one restart and the next, so that the restarts
// happen under load.
constexpr int64_t kAnswersBetween = 500;

int Rounds() {
  const char* rounds = std::getenv("VIT_ROLLOUT_ROUNDS");
  return rounds == nullptr ? 1 : std::atoi(rounds);
}

class Replicas {
 public:
  Replicas() {
    for (int i = 0; i < kReplicas; ++i) Start(i);
  }

  bool ready() const {
    for (const auto& server : servers_) {
      if (!server->ready()) return false;
    }
    return true;
  }

  ClientOptions options() const {
    ClientOptions options;
    options.target = "ipv4:";
    for (const UnusedPort& port : ports_) {
      options.target +=
          (options.target.back() == ':' ? "" : ",") + port.address();
    }
    // Only a broken program meets it.
    options.deadline = absl::Seconds(30);
    return options;
  }

  // What an orchestrator does.
  void Restart(int replica) {
    EXPECT_EQ(servers_[replica]->Terminate(), 0)
        << servers_[replica]->process().output();
    Start(replica);
  }

  // What a machine that fails does.
  void KillAndRestart(int replica) {
    servers_[replica]->Signal(SIGKILL);
    servers_[replica]->Wait();
    Start(replica);
  }

 private:
  void Start(int replica) {
    servers_[replica] = std::make_unique<ServerProcess>(
        std::vector<std::string>{"--address=" + ports_[replica].address(),
                                 "--workers=1", "--lame_duck_seconds=1"});
  }

  std::array<UnusedPort, kReplicas> ports_;
  std::array<std::unique_ptr<ServerProcess>, kReplicas> servers_;
};

// How calls ended. Thread-safe.
class Outcomes {
 public:
  void Add(const absl::Status& status) {
    const std::lock_guard lock(mutex_);
    ++counts_[status.code()];
    if (first_error_.ok()) first_error_ = status;
  }

  int64_t total() const {
    const std::lock_guard lock(mutex_);
    int64_t total = 0;
    for (const auto& [code, count] : counts_) total += count;
    return total;
  }

  void ExpectNoFailure(const std::string& scenario) const {
    const std::lock_guard lock(mutex_);
    std::cout << scenario << ":";
    for (const auto& [code, count] : counts_) {
      std::cout << ' ' << code << ' ' << count;
    }
    std::cout << std::endl;
    EXPECT_TRUE(first_error_.ok()) << first_error_;
    EXPECT_EQ(counts_.size(), 1) << "other codes than OK came";
  }

 private:
  mutable std::mutex mutex_;
  std::map<absl::StatusCode, int64_t> counts_;
  absl::Status first_error_;
};

// Keeps kInFlight calls in flight until it is stopped.
class CallLoad {
 public:
  explicit CallLoad(const ClientOptions& options)
      : client_(ClassifierClient::Create(options).value()) {
    for (int i = 0; i < kInFlight; ++i) Next();
  }

  const Outcomes& outcomes() const { return outcomes_; }

  // Returns when the last call has ended.
  void Stop() {
    stopped_ = true;
    EXPECT_TRUE(testing::WaitUntil([this] {
      std::this_thread::yield();
      return in_flight_ == 0;
    }));
  }

 private:
  void Next() {
    const std::string image = TestSet::Get().image(0);
    client_->ClassifyAsync(
        std::span(reinterpret_cast<const uint8_t*>(image.data()), image.size()),
        [this](const absl::StatusOr<v1::ClassifyResponse>& answer) {
          outcomes_.Add(answer.status());
          if (stopped_) {
            --in_flight_;
          } else {
            Next();
          }
        });
  }

  Outcomes outcomes_;
  std::atomic<bool> stopped_ = false;
  std::atomic<int> in_flight_ = kInFlight;
  const std::unique_ptr<ClassifierClient> client_;
};

// Keeps kInFlight images in flight, on kStreams streams, until it is stopped.
class StreamLoad {
 public:
  explicit StreamLoad(ClientOptions options) : options_(std::move(options)) {
    for (int i = 0; i < kStreams; ++i) {
      senders_.emplace_back([this] { Run(); });
    }
  }

  const Outcomes& outcomes() const { return outcomes_; }
  int streams() const { return streams_; }

  // Returns when the last image is answered.
  void Stop() {
    stopped_ = true;
    for (std::thread& sender : senders_) sender.join();
  }

 private:
  void Run() {
    std::mutex mutex;
    std::set<uint64_t> unanswered;
    const auto stream = ClassifyStream::Create(
        options_, {.max_in_flight = kInFlight / kStreams},
        [&](uint64_t id, const absl::StatusOr<v1::ClassifyResponse>& answer) {
          outcomes_.Add(answer.status());
          const std::lock_guard lock(mutex);
          EXPECT_EQ(unanswered.erase(id), 1) << id << " is answered twice";
        });
    const std::string image = TestSet::Get().image(0);
    for (uint64_t id = 0; !stopped_; ++id) {
      {
        const std::lock_guard lock(mutex);
        unanswered.insert(id);
      }
      (*stream)->Send(id,
                      std::span(reinterpret_cast<const uint8_t*>(image.data()),
                                image.size()));
    }
    (*stream)->Finish();
    streams_ += (*stream)->streams();
    const std::lock_guard lock(mutex);
    EXPECT_TRUE(unanswered.empty());
  }

  const ClientOptions options_;
  Outcomes outcomes_;
  std::atomic<bool> stopped_ = false;
  std::atomic<int> streams_ = 0;
  std::vector<std::thread> senders_;
};

void WaitForAnswers(const Outcomes& outcomes) {
  const int64_t wanted = outcomes.total() + kAnswersBetween;
  EXPECT_TRUE(testing::WaitUntil([&] {
    std::this_thread::yield();
    return outcomes.total() >= wanted;
  }));
}

// Replaces every replica, one at a time, as often as Rounds() says.
void RollOut(Replicas& replicas, const Outcomes& outcomes) {
  WaitForAnswers(outcomes);
  for (int i = 0; i < Rounds() * kReplicas; ++i) {
    replicas.Restart(i % kReplicas);
    WaitForAnswers(outcomes);
  }
}

void LoseOneAfterTheOther(Replicas& replicas, const Outcomes& outcomes) {
  WaitForAnswers(outcomes);
  for (int i = 0; i < Rounds() * kReplicas; ++i) {
    replicas.KillAndRestart(i % kReplicas);
    WaitForAnswers(outcomes);
  }
}

TEST(RolloutTest, NoCallFailsWhileEveryReplicaIsRestartedInTurn) {
  Replicas replicas;
  ASSERT_TRUE(replicas.ready());
  CallLoad load(replicas.options());
  RollOut(replicas, load.outcomes());
  load.Stop();
  load.outcomes().ExpectNoFailure("calls, SIGTERM");
}

TEST(RolloutTest, NoCallFailsWhenAReplicaIsKilled) {
  Replicas replicas;
  ASSERT_TRUE(replicas.ready());
  CallLoad load(replicas.options());
  LoseOneAfterTheOther(replicas, load.outcomes());
  load.Stop();
  load.outcomes().ExpectNoFailure("calls, SIGKILL");
}

TEST(RolloutTest, NoImageOfAStreamFailsWhileEveryReplicaIsRestartedInTurn) {
  Replicas replicas;
  ASSERT_TRUE(replicas.ready());
  StreamLoad load(replicas.options());
  RollOut(replicas, load.outcomes());
  load.Stop();
  load.outcomes().ExpectNoFailure("streams, SIGTERM");
  // Each stream has lost its server at least once.
  EXPECT_GE(load.streams(), 2 * kStreams);
}

TEST(RolloutTest, NoImageOfAStreamFailsWhenAReplicaIsKilled) {
  Replicas replicas;
  ASSERT_TRUE(replicas.ready());
  StreamLoad load(replicas.options());
  LoseOneAfterTheOther(replicas, load.outcomes());
  load.Stop();
  load.outcomes().ExpectNoFailure("streams, SIGKILL");
  EXPECT_GE(load.streams(), 2 * kStreams);
}

}  // namespace
}  // namespace vit
