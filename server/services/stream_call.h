#ifndef MNIST_VIT_SERVER_SERVICES_STREAM_CALL_H_
#define MNIST_VIT_SERVER_SERVICES_STREAM_CALL_H_

#include <array>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "server/base/mutex.h"
#include "server/rpc/batch_scheduling.h"
#include "server/rpc/call.h"
#include "server/rpc/message.h"
#include "server/services/request.h"
#include "server/services/service_context.h"
#include "server/services/slow_request.h"

namespace vit {

// One call of many messages in and out, an image each. Up to kMaxInFlight
// images of it are queued, computed or answered at a time; then it reads no
// more until an answer has been written, and gRPC's flow control holds the
// client back. Answers are written as they come.
//
// The stream ends when the client has closed its side, or the server drains,
// and all that was read is answered.
//
// The Codec stands for one message and its answer; see ClassifyStreamCodec.
template <typename Codec>
class StreamCall final : public CallHandler {
 public:
  // Twice the usual largest batch, so that a stream alone keeps a worker busy.
  static constexpr size_t kMaxInFlight = 64;

  StreamCall(ServiceContext* service, Call* call)
      : CallHandler(call), service_(*service), items_(kMaxInFlight) {
    MutexLock lock(&mutex_);
    for (Item& item : items_) {
      item.stream = this;
      free_.push_back(&item);
    }
  }

 private:
  // A place for one message and its answer.
  class Item final : public BatchTask {
   public:
    void Done(const absl::Status& status, const Prediction* prediction,
              const TaskTiming& timing) override {
      stream->OnItemDone(this, status, prediction, timing);
    }

    StreamCall* stream = nullptr;
    Codec codec;
    std::shared_ptr<ModelQueue> model;
  };

  // What to ask of gRPC, found under the lock and done without it: gRPC may
  // send what it has gathered. Until a write is done the stream does not end.
  struct Step {
    bool read = false;
    Item* write = nullptr;
    bool more = false;  // answers wait behind the one to write
    bool finish = false;
    bool drained = false;
  };

  void OnStart() override {
    deadline_ = call()->deadline();
    flow_ = call()->flow();
    share_ = call()->share();
    Advance([] {});
  }

  void OnMessage(grpc::ByteBuffer& message) override {
    UseBatchScheduling(service_.pool->is_batching());
    // The next read, which may begin at once, fills the call's buffer again.
    grpc::ByteBuffer bytes;
    bytes.Swap(&message);
    Item* item = nullptr;
    bool dead = false;
    Advance([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      dead = finished_;
      reading_ = false;
      item = free_.back();
      if (!dead) free_.pop_back();
    });
    if (dead) return;
    item->arrival = Clock::now();
    const absl::Status status = Submit(item, bytes);
    if (status.ok()) return;
    item->codec.SetError(status);
    Answer(item, status.code(), /*timing=*/{});
  }

  absl::Status Submit(Item* item, grpc::ByteBuffer& message) {
    if (absl::Status s = ParseMessage(message, &item->codec.request); !s.ok()) {
      call()->observer().OnRefused(RpcObserver::Rule::kMalformed);
      item->codec.request = {};
      return s;
    }
    auto picked =
        service_.pick_model(item->codec.model(), item->codec.version());
    if (!picked.ok()) return picked.status();
    item->model = *std::move(picked);
    absl::StatusOr<Image> image = item->codec.image(item->model->info().image);
    if (!image.ok()) return image.status();
    item->image = *image;
    item->deadline = service_.Bound(deadline_, item->arrival);
    item->flow = flow_;
    item->share = share_;
    return item->model->Submit(item);
  }

  void OnItemDone(Item* item, absl::Status status, const Prediction* prediction,
                  const TaskTiming& timing) {
    if (status.ok()) {
      status = WithinMemory([&] {
        const Clock::time_point now = Clock::now();
        item->codec.SetResult(*prediction, timing, now - item->arrival);
        item->model->observer().OnPrediction(prediction->label,
                                             now - timing.finished);
      });
    }
    if (!status.ok()) item->codec.SetError(status);
    Answer(item, status.code(), timing);
  }

  // Counts the answer and has it written. Any thread, so it only begins a
  // write: what reads or ends the stream belongs to the loop's thread, which
  // destroys the call.
  void Answer(Item* item, absl::StatusCode code, const TaskTiming& timing) {
    OnAnswered(service_, Codec::kMethod, code, timing,
               Clock::now() - item->arrival, call());
    // A wrong image may be large, and the client may take its time to read.
    item->codec.Release(
        item->model == nullptr ? 0 : item->model->info().image.size());
    item->model.reset();
    Item* write = nullptr;
    bool more = false;
    {
      MutexLock lock(&mutex_);
      answered_[(first_answered_ + answers_) % kMaxInFlight] = item;
      ++answers_;
      write = NextWrite(&more);
    }
    Write(write, more);
  }

  void Write(Item* item, bool more) {
    if (item == nullptr) return;
    call()->Write(SerializeMessage(item->codec.response()), more);
  }

  // The answer to write now; null if there is none.
  Item* NextWrite(bool* more) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ != nullptr || answers_ == 0) return nullptr;
    writing_ = answered_[first_answered_];
    first_answered_ = (first_answered_ + 1) % kMaxInFlight;
    *more = --answers_ > 0;
    return writing_;
  }

  // A write that failed means that the client is gone: what is left is answered
  // into the void, and the stream ends.
  void OnWritten(bool ok) override {
    Advance([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      free_.push_back(std::exchange(writing_, nullptr));
      client_closed_ = client_closed_ || !ok;
    });
  }

  void OnClosed() override {
    Advance([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      reading_ = false;
      client_closed_ = true;
    });
  }

  void OnDrain() override {
    Advance([&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { draining_ = true; });
  }

  // The items stay cancelled, so also those that are yet to be submitted.
  void OnCancelled() override {
    std::vector<BatchTask*> tasks;
    for (Item& item : items_) tasks.push_back(&item);
    service_.pool->Cancel(tasks);
    Advance(
        [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { client_closed_ = true; });
  }

  // Makes a change under the lock and does what it allows. On the loop's
  // thread.
  template <typename Change>
  void Advance(Change change) ABSL_LOCKS_EXCLUDED(mutex_) {
    Step step;
    {
      MutexLock lock(&mutex_);
      change();
      step = NextStep();
    }
    if (step.read) call()->Read();
    Write(step.write, step.more);
    if (step.finish) {
      call()->Finish(step.drained
                         ? absl::UnavailableError("server is shutting down")
                         : absl::OkStatus());
    }
  }

  Step NextStep() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    Step step;
    if (finished_) return step;
    step.write = NextWrite(&step.more);
    const bool closing = client_closed_ || draining_;
    // The place for the next message stays free until it has come.
    if (!closing && !reading_ && !free_.empty()) reading_ = step.read = true;
    step.finish = finished_ = closing && free_.size() == kMaxInFlight;
    step.drained = draining_ && !client_closed_;
    return step;
  }

  ServiceContext& service_;
  Clock::time_point deadline_;  // the client's, of the whole stream
  uint64_t flow_ = 0;
  int share_ = 1;
  std::vector<Item> items_;

  Mutex mutex_;
  std::vector<Item*> free_ ABSL_GUARDED_BY(mutex_);
  // Answers to write, the oldest first, in a ring.
  std::array<Item*, kMaxInFlight> answered_ ABSL_GUARDED_BY(mutex_){};
  size_t first_answered_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t answers_ ABSL_GUARDED_BY(mutex_) = 0;
  Item* writing_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool client_closed_ ABSL_GUARDED_BY(mutex_) = false;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_SERVICES_STREAM_CALL_H_
