#include "server/rpc/connection_hand_over.h"

#include <algorithm>
#include <system_error>
#include <utility>

namespace vit {

ConnectionHandOver::ConnectionHandOver(
    std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> to_grpc)
    : to_grpc_(std::move(to_grpc)) {
  MutexLock lock(&mutex_);
  StartThread();
}

ConnectionHandOver::~ConnectionHandOver() {
  std::vector<std::thread> threads;
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
    waiting_.clear();
    threads.swap(threads_);
  }
  changed_.NotifyAll();
  for (std::thread& thread : threads) thread.join();
}

void ConnectionHandOver::StartThread() {
  const size_t thread = threads_.size();
  in_hand_.resize(thread + 1);
  threads_.emplace_back([this, thread] { Run(thread); });
}

bool ConnectionHandOver::MayStartThread() {
  if (threads_.size() >= kMostThreads) return false;
  try {
    StartThread();
    return true;
  } catch (const std::system_error&) {
    return false;  // the system grants no more threads
  }
}

void ConnectionHandOver::Add(uint64_t id, FileDescriptor connection,
                             int listener) {
  {
    MutexLock lock(&mutex_);
    waiting_.push_back({.id = id,
                        .connection = std::move(connection),
                        .listener = listener,
                        .since = Clock::now()});
  }
  changed_.NotifyOne();
}

std::optional<uint64_t> ConnectionHandOver::Look(Clock::time_point now) {
  MutexLock lock(&mutex_);
  if (waiting_.empty() || now - waiting_.front().since < kPatience) {
    return std::nullopt;
  }
  if (MayStartThread()) return std::nullopt;
  const auto longest = std::min_element(
      in_hand_.begin(), in_hand_.end(), [](const InHand& a, const InHand& b) {
        return a.id != 0 && (b.id == 0 || a.since < b.since);
      });
  if (longest->id == 0 || now - longest->since < kLongest) return std::nullopt;
  longest->since = now;  // so that the next one is ended if this did not help
  return longest->id;
}

Clock::duration ConnectionHandOver::Longest(Clock::time_point now) const {
  MutexLock lock(&mutex_);
  Clock::duration longest{0};
  for (const InHand& in_hand : in_hand_) {
    if (in_hand.id != 0) longest = std::max(longest, now - in_hand.since);
  }
  return longest;
}

bool ConnectionHandOver::busy() const {
  MutexLock lock(&mutex_);
  return !waiting_.empty();
}

void ConnectionHandOver::Run(size_t thread) {
  MutexLock lock(&mutex_);
  while (true) {
    while (!stopping_ && waiting_.empty()) changed_.Wait(&mutex_);
    if (stopping_) return;
    Waiting next = std::move(waiting_.front());
    waiting_.pop_front();
    in_hand_[thread] = {.id = next.id, .since = Clock::now()};
    mutex_.Unlock();
    grpc::experimental::ExternalConnectionAcceptor::NewConnectionParameters
        parameters;
    parameters.listener_fd = next.listener;
    parameters.fd = next.connection.Release();
    to_grpc_->HandleNewConnection(&parameters);
    mutex_.Lock();
    in_hand_[thread] = {};
  }
}

}  // namespace vit
