#include "server/rpc/connection_table.h"

#include <chrono>
#include <iterator>
#include <thread>
#include <utility>

namespace vit {
namespace {

using Rule = RpcObserver::Rule;

// When there are too many, how long one has been silent if it may be ended.
constexpr Clock::duration kSilent = std::chrono::seconds(1);
// Under memory pressure, how long the connections are watched, how often, and
// what one sends in that time, in bytes, that counts as one that fills memory:
// 32 MB/s.
constexpr std::chrono::milliseconds kWatched{2};
constexpr int kWatches = 5;
constexpr uint64_t kMuch = 64 << 10;

}  // namespace

size_t ConnectionTable::size() const {
  MutexLock lock(&mutex_);
  return connections_.size();
}

void ConnectionTable::Add(uint64_t id, FileDescriptor duplicate) {
  MutexLock lock(&mutex_);
  connections_[id] = {.duplicate = std::move(duplicate),
                      .accepted = Clock::now()};
  observer_->OnConnections(connections_.size());
}

void ConnectionTable::Remove(uint64_t id) {
  MutexLock lock(&mutex_);
  connections_.erase(id);
  observer_->OnConnections(connections_.size());
}

void ConnectionTable::End(uint64_t id, Rule rule) {
  MutexLock lock(&mutex_);
  const auto connection = connections_.find(id);
  if (connection != connections_.end()) End(connection, rule);
}

ConnectionTable::Connections::iterator ConnectionTable::End(
    Connections::iterator connection, Rule rule) {
  observer_->OnRefused(rule);
  EndConnection(connection->second.duplicate.get());
  const auto next = connections_.erase(connection);
  observer_->OnConnections(connections_.size());
  return next;
}

void ConnectionTable::EndAll() {
  MutexLock lock(&mutex_);
  for (auto& [id, connection] : connections_) {
    EndConnection(connection.duplicate.get());
  }
}

bool ConnectionTable::MakeRoom() {
  MutexLock lock(&mutex_);
  Clock::duration longest{0};
  auto silent = connections_.end();
  for (auto i = connections_.begin(); i != connections_.end(); ++i) {
    const auto traffic = TrafficOf(i->second.duplicate.get());
    const Clock::duration silence = traffic.has_value()
                                        ? traffic->silence
                                        : Clock::now() - i->second.accepted;
    if (silence < longest) continue;
    longest = silence;
    silent = i;
  }
  if (silent == connections_.end() || longest < kSilent) return false;
  End(silent, Rule::kConnectionLimit);
  return true;
}

void ConnectionTable::LookAtAll() {
  for (auto& [id, connection] : connections_) {
    const auto traffic = TrafficOf(connection.duplicate.get());
    if (!traffic.has_value()) continue;
    if (traffic->sent != connection.traffic.sent) {
      connection.answered = traffic->received;
    }
    connection.traffic = *traffic;
  }
}

void ConnectionTable::RelievePressure() {
  {
    MutexLock lock(&mutex_);
    LookAtAll();
    const size_t before = connections_.size();
    for (auto i = connections_.begin(); i != connections_.end();) {
      i = i->second.unanswered() >= kFilling ? End(i, Rule::kMemoryPressure)
                                             : std::next(i);
    }
    if (connections_.size() < before) return;
  }
  for (int i = 0; i < kWatches; ++i) {
    std::this_thread::sleep_for(kWatched);
    MutexLock lock(&mutex_);
    EndHungriest();
    LookAtAll();
  }
}

// What counts is what comes now, because an honest peer's connection may be
// older and have sent more in all.
void ConnectionTable::EndHungriest() {
  auto hungriest = connections_.end();
  uint64_t most = kMuch;
  for (auto i = connections_.begin(); i != connections_.end(); ++i) {
    const auto traffic = TrafficOf(i->second.duplicate.get());
    if (!traffic.has_value()) continue;
    const uint64_t received = traffic->received - i->second.traffic.received;
    if (received <= most) continue;
    most = received;
    hungriest = i;
  }
  if (hungriest != connections_.end()) End(hungriest, Rule::kMemoryPressure);
}

void ConnectionTable::OnTick(bool is_stalled) {
  MutexLock lock(&mutex_);
  stalled_ticks_ = is_stalled ? stalled_ticks_ + 1 : 0;
  if (stalled_ticks_ == 1) NoteRead();
  const bool is_lasting = stalled_ticks_ >= kTicks;
  if (!is_lasting && ++ticks_ % kTicks != 0) return;
  LookAtAll();
  if (!is_lasting) return;
  for (auto i = connections_.begin(); i != connections_.end();) {
    i = IsStalling(i->second) ? End(i, Rule::kStall) : std::next(i);
  }
}

void ConnectionTable::NoteRead() {
  for (auto& [id, connection] : connections_) {
    connection.read = BytesRead(connection.duplicate.get());
  }
}

bool ConnectionTable::IsStalling(const Connection& connection) const {
  if (connection.unanswered() < kStalling) return false;
  const uint64_t read = BytesRead(connection.duplicate.get()) - connection.read;
  return read > 0 && read < kReadPerTick * stalled_ticks_;
}

}  // namespace vit
