#ifndef MNIST_VIT_SERVER_SERVICES_CLASSIFY_STREAM_H_
#define MNIST_VIT_SERVER_SERVICES_CLASSIFY_STREAM_H_

#include <array>
#include <cstddef>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "server/rpc/call.h"
#include "server/services/classifier_service.h"
#include "server/base/mutex.h"

namespace vit {

// One ClassifyStream. Up to kMaxInFlight images of it are queued or computed at
// a time; then it reads no more until an answer has been written, and gRPC's
// flow control holds the client back. Answers are written as they come.
//
// The stream ends when the client has closed its side, or the server drains,
// and all that was read is answered.
class ClassifyStreamCall final : public Call, public DrainableCall {
 public:
  // Twice the usual largest batch, so that a stream alone keeps a worker busy.
  static constexpr size_t kMaxInFlight = 64;

  ClassifyStreamCall(const ServiceContext& service, EventLoop* loop);
  ~ClassifyStreamCall() override;

  // Ends the stream with Unavailable once all that was read is answered.
  void Drain() override;

 private:
  // A place for one message and its answer, used again and again.
  class Item final : public BatchTask {
   public:
    void Done(const absl::Status& status, const Prediction* prediction,
              const TaskTiming& timing) override;

    ClassifyStreamCall* call = nullptr;
    v1::ClassifyStreamRequest request;
    v1::ClassifyStreamResponse response;
    Clock::time_point received;
  };

  void Renew() override;
  void OnArrived() override;
  void OnCancelled() override;
  void OnRead(bool ok);
  void OnWritten(bool ok);

  // Counts the answer and has it written.
  void Answer(Item* item, absl::StatusCode code);
  static void SetError(const absl::Status& status, Item* item);

  // Starts a read or the end, if it is time for either.
  void Advance() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // The write that can be started, if any: of `item`, which is null if there
  // is none. To be started without the lock, for it may send what gRPC has
  // gathered; until it is done, the stream does not end.
  struct Write {
    Item* item = nullptr;
    bool last = false;  // no other answer waits
  };
  Write NextWrite() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Begin(const Write& write) ABSL_LOCKS_EXCLUDED(mutex_);

  const ServiceContext& service_;
  grpc::ServerAsyncReaderWriter<v1::ClassifyStreamResponse,
                                v1::ClassifyStreamRequest>
      stream_{&context_};
  Step read_{this, &ClassifyStreamCall::OnRead};
  Step written_{this, &ClassifyStreamCall::OnWritten};
  Clock::time_point deadline_ = Clock::time_point::max();
  bool entered_ = false;
  std::array<Item, kMaxInFlight> items_;

  Mutex mutex_;
  std::vector<Item*> free_ ABSL_GUARDED_BY(mutex_);
  // Answers to write, the oldest first, in a ring.
  std::array<Item*, kMaxInFlight> answered_ ABSL_GUARDED_BY(mutex_){};
  size_t first_answered_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t answers_ ABSL_GUARDED_BY(mutex_) = 0;
  Item* reading_ ABSL_GUARDED_BY(mutex_) = nullptr;
  Item* writing_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool client_closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_SERVICES_CLASSIFY_STREAM_H_
