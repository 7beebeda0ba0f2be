#ifndef MNIST_VIT_SERVER_SERVICES_UNARY_JOB_H_
#define MNIST_VIT_SERVER_SERVICES_UNARY_JOB_H_

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/base/mutex.h"
#include "server/rpc/batch_scheduling.h"
#include "server/rpc/call.h"
#include "server/rpc/message.h"
#include "server/services/request.h"
#include "server/services/service_context.h"
#include "server/services/slow_request.h"

namespace vit {

// One call with one message in and one out, of one to many images, which are
// computed all or none, perhaps in several batches by several workers. If one
// fails, the call fails and computes no more.
//
// What differs between protocols is the Codec, which knows nothing of queues:
//
//   kMethod                       how the call is counted
//   kCost                         of each image; see BatchTask
//   Request request               filled by the job; Release() lets go of it
//   model(), version()            what is asked; may be empty
//   images()                      how many images there are
//   image(i, shape)               one of them, or InvalidArgument
//   Prepare(info)                 makes room for the results
//   attention(i)                  where the weights go; null without attention
//   SetResult(i, info, ...)       any thread, different i at the same time
//   response()                    the message out
template <typename Codec>
class UnaryJob final : public CallHandler {
 public:
  UnaryJob(ServiceContext* service, Call* call)
      : CallHandler(call), service_(*service) {}

 private:
  // One image of the call. Its result goes to a place of its own, so that
  // workers need no lock between them.
  class Item final : public BatchTask {
   public:
    void Done(const absl::Status& status, const Prediction* prediction,
              const TaskTiming& timing) override {
      job->OnItemDone(*this, status, prediction, timing);
    }

    UnaryJob* job = nullptr;
    int index = 0;
  };

  void OnMessage(grpc::ByteBuffer& message) override {
    UseBatchScheduling(service_.pool->is_batching());
    absl::Status status = Prepare(message);
    if (status.ok()) status = Submit();
    if (!status.ok()) End(status);
  }

  void OnClosed() override {
    call()->observer().OnRefused(RpcObserver::Rule::kNoMessage);
    End(absl::InvalidArgumentError("expected one message, got none"));
  }

  void OnCancelled() override { CancelAll(); }

  // Checks the request and makes a task of each image.
  absl::Status Prepare(grpc::ByteBuffer& message) {
    if (absl::Status s = ParseMessage(message, &codec_.request); !s.ok()) {
      call()->observer().OnRefused(RpcObserver::Rule::kMalformed);
      return s;
    }
    auto picked = service_.pick_model(codec_.model(), codec_.version());
    if (!picked.ok()) return picked.status();
    queue_ = *std::move(picked);
    const int count = codec_.images();
    if (count < 1 || count > service_.max_images_per_call) {
      return absl::InvalidArgumentError(
          absl::StrCat("images: expected 1 to ", service_.max_images_per_call,
                       " images, got ", count));
    }
    items_ = std::vector<Item>(count);
    codec_.Prepare(queue_->info());
    const Clock::time_point deadline =
        service_.Bound(call()->deadline(), call()->received());
    const uint64_t flow = call()->flow();
    for (int i = 0; i < count; ++i) {
      absl::StatusOr<Image> image = codec_.image(i, queue_->info().image);
      if (!image.ok()) return image.status();
      Item& item = items_[i];
      item.queue = queue_.get();
      item.image = *image;
      item.arrival = call()->received();
      item.deadline = deadline;
      item.attention = codec_.attention(i);
      item.flow = flow;
      item.share = call()->share();
      item.cost = Codec::kCost;
      item.job = this;
      item.index = i;
    }
    return absl::OkStatus();
  }

  absl::Status Submit() {
    unanswered_ = items_.size();
    if (items_.size() == 1) {
      EventLoop* const loop = call()->loop();
      service_.bursts[loop->index()]->Add(&items_.front(), loop);
      return absl::OkStatus();
    }
    return queue_->SubmitAll(Tasks());
  }

  std::vector<BatchTask*> Tasks() {
    std::vector<BatchTask*> tasks;
    tasks.reserve(items_.size());
    for (Item& item : items_) tasks.push_back(&item);
    return tasks;
  }

  void CancelAll() {
    if (items_.empty()) return;
    if (items_.size() == 1) {
      BatchTask* const task = &items_.front();
      service_.pool->Cancel(std::span(&task, 1));
    } else {
      service_.pool->Cancel(Tasks());
    }
  }

  void OnItemDone(const Item& item, absl::Status status,
                  const Prediction* prediction, const TaskTiming& timing) {
    if (status.ok()) {
      status = WithinMemory([&] {
        const Clock::time_point now = Clock::now();
        codec_.SetResult(item.index, queue_->info(), *prediction, timing,
                         now - call()->received());
        queue_->observer().OnPrediction(prediction->label,
                                        now - timing.finished);
      });
    }
    if (!status.ok()) {
      {
        MutexLock lock(&mutex_);
        if (first_error_.ok()) first_error_ = status;
      }
      if (items_.size() > 1 && !failed_.exchange(true)) CancelAll();
    }
    if (unanswered_.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
    absl::Status result;
    {
      MutexLock lock(&mutex_);
      result = first_error_;
    }
    End(result, timing);
  }

  // The last use of the call. `timing` is that of the last image, if any was
  // submitted.
  void End(absl::Status status, const TaskTiming& timing = {}) {
    grpc::ByteBuffer answer;
    if (status.ok()) {
      status =
          WithinMemory([&] { answer = SerializeMessage(codec_.response()); });
    }
    OnAnswered(service_, Codec::kMethod, status.code(), timing,
               Clock::now() - call()->received(), call());
    // The client may take its time to read the answer.
    codec_.Release();
    if (status.ok()) {
      call()->FinishWith(answer);
    } else {
      call()->Finish(status);
    }
  }

  ServiceContext& service_;
  Codec codec_;
  std::shared_ptr<ModelQueue> queue_;
  std::vector<Item> items_;  // made before any is submitted
  std::atomic<size_t> unanswered_{0};
  std::atomic<bool> failed_{false};
  Mutex mutex_;
  absl::Status first_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_SERVICES_UNARY_JOB_H_
