#ifndef MNIST_VIT_SERVER_RPC_ADMISSION_H_
#define MNIST_VIT_SERVER_RPC_ADMISSION_H_

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "server/base/clock.h"
#include "server/base/mutex.h"
#include "server/base/rpc_observer.h"
#include "server/base/serving_state.h"

namespace vit {

// What all calls together may take. Each is part of the budget that
// MemoryBudget adds up.
struct AdmissionLimits {
  size_t max_calls = 2048;   // unary ones, from their arrival to their end
  size_t max_streams = 128;  // calls of several messages
  // Unary calls whose message has not come in whole.
  size_t max_reading = 256;
  // How long a message may be half sent, and an answer not read.
  Clock::duration message_timeout = std::chrono::seconds(10);
  Clock::duration write_timeout = std::chrono::seconds(5);
};

// A call as Admission sees it.
class AdmittedCall {
 public:
  // Whose turn it is.
  enum class Phase {
    kReading,    // the client's: its message is on the way
    kComputing,  // ours
    kAnswering,  // the client's: it is to read the answer
    kStreaming,  // the client's, and it may take its time
    kEnding,     // gRPC's: it was cut off
  };
  static constexpr size_t kPhases = 5;

 protected:
  AdmittedCall() = default;
  virtual ~AdmittedCall() = default;

  void set_connection(uint64_t connection) { connection_ = connection; }

 private:
  friend class Admission;

  // Ends the call from outside; under Admission's lock, so must not wait.
  virtual void CutOff() = 0;
  // The server drains: take no more from the client, answer what was taken,
  // and finish. Under Admission's lock, so must only pass it on.
  virtual void StartDraining() = 0;

  // Which connection it came by, as a number that is likely its own. Set before
  // it enters.
  uint64_t connection_ = 0;

  // Guarded by Admission's lock.
  bool admitted_ = false;
  bool is_stream_ = false;
  bool has_place_ = false;  // one of max_calls or max_streams
  Phase phase_ = Phase::kReading;
  Clock::time_point since_;
  AdmittedCall* next_ = nullptr;
  AdmittedCall* previous_ = nullptr;
};

// The one place where calls are let in and where the server knows all of them.
// Every call is counted from its arrival until gRPC is done with it, and so is
// what it holds.
//
// When all places are taken, Admission makes room. It cuts off the call that
// has kept the server waiting longest, if that is longer than kPatience: for
// its message, for its answer to be read, or, a stream, for anything. Honest
// clients take milliseconds for that. If there is none, the connection that has
// most places gives one up. So a call is refused only if no connection has more
// places than its own.
//
// Thread-safe.
class Admission {
 public:
  static constexpr Clock::duration kPatience = std::chrono::milliseconds(200);
  // The same when memory runs short.
  static constexpr Clock::duration kShortPatience =
      std::chrono::milliseconds(50);

  // `state` and `observer` outlive it.
  Admission(const ServingState* state, const AdmissionLimits& limits,
            RpcObserver* observer);

  // Lets a call in, which begins in kReading (a stream, in kStreaming).
  // Unavailable once draining, unless the call comes `while_draining`;
  // ResourceExhausted if there is no room.
  absl::Status Enter(AdmittedCall* call, bool is_stream, Clock::time_point now,
                     bool while_draining = false) ABSL_LOCKS_EXCLUDED(mutex_);
  // A message was read, so it is the server's turn; unless the client is yet
  // to read an answer.
  void OnMessage(AdmittedCall* call, Clock::time_point now)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // It is another's turn.
  void Move(AdmittedCall* call, AdmittedCall::Phase phase,
            Clock::time_point now) ABSL_LOCKS_EXCLUDED(mutex_);
  // gRPC is done with the call; nothing happens if it was never let in.
  void Leave(AdmittedCall* call) ABSL_LOCKS_EXCLUDED(mutex_);

  // Cuts off what has kept the server waiting too long. To be called now and
  // then.
  void CutOffLate(Clock::time_point now) ABSL_LOCKS_EXCLUDED(mutex_);

  // Memory runs short: cuts off the calls whose messages have been half sent
  // for longer than an honest client takes; if there are none, the half of the
  // streams from which nothing has come for the longest time. Returns how many.
  size_t RelievePressure(Clock::time_point now) ABSL_LOCKS_EXCLUDED(mutex_);

  // Refuses new calls and tells the streams.
  void StartDraining() ABSL_LOCKS_EXCLUDED(mutex_);

  // Waits until no call is under way; false if some still is at `deadline`.
  bool WaitUntilIdle(Clock::time_point deadline) ABSL_LOCKS_EXCLUDED(mutex_);

  // Waits until no call was refused for as long as `quiet`, beginning now;
  // false if that is not so by `deadline`.
  bool WaitUntilQuiet(Clock::duration quiet, Clock::time_point deadline)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  static constexpr size_t kConnections = 1024;

  struct List {
    AdmittedCall* first = nullptr;
    AdmittedCall* last = nullptr;
    size_t size = 0;
    // Of these, how many came by each connection, hashed.
    std::array<uint32_t, kConnections> by_connection{};
  };

  List& ListOf(AdmittedCall::Phase phase, bool is_stream)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return lists_[is_stream ? 1 : 0][static_cast<size_t>(phase)];
  }
  void Append(AdmittedCall* call, AdmittedCall::Phase phase,
              Clock::time_point now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Unlink(AdmittedCall* call) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of the calls of one kind cuts off the one that is longest in one of these
  // phases, if that is since `before` or earlier.
  bool CutOffOldest(bool is_stream,
                    std::initializer_list<AdmittedCall::Phase> phases,
                    Clock::time_point before, RpcObserver::Rule rule)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Cuts off a call of the connection that has most calls in `phases`, in the
  // first of them in which it has any; false if `newcomer`'s has as many.
  bool CutOffOfLargest(const AdmittedCall& newcomer, bool is_stream,
                       std::initializer_list<AdmittedCall::Phase> phases)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CutOff(AdmittedCall* call, RpcObserver::Rule rule)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether there is room for one more, if need be by making some.
  bool MakeRoom(const AdmittedCall& newcomer, bool is_stream,
                Clock::time_point now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CountPlace(const AdmittedCall& call, int difference)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    (call.is_stream_ ? streams_ : calls_) += difference;
  }

  const ServingState* const state_;
  const AdmissionLimits limits_;
  RpcObserver* const observer_;

  Mutex mutex_;
  CondVar changed_;
  // Of unary calls and of streams, by phase; in each list the call that is
  // longest in it comes first.
  std::array<std::array<List, AdmittedCall::kPhases>, 2> lists_
      ABSL_GUARDED_BY(mutex_);
  size_t admitted_ ABSL_GUARDED_BY(mutex_) = 0;
  // Of those, the ones that have places; what was cut off has none.
  size_t calls_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t streams_ ABSL_GUARDED_BY(mutex_) = 0;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  Clock::time_point last_refused_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_RPC_ADMISSION_H_
