#ifndef MNIST_VIT_SERVER_SERVICES_CLASSIFY_BATCH_H_
#define MNIST_VIT_SERVER_SERVICES_CLASSIFY_BATCH_H_

#include <atomic>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "server/rpc/call.h"
#include "server/services/classifier_service.h"
#include "server/base/mutex.h"

namespace vit {

// One ClassifyBatch: as many tasks as images, taken by the scheduler all or
// none, perhaps computed in several batches by several workers. Finishes with
// the last of them; if any fails, the call fails.
class ClassifyBatchCall final
    : public UnaryCall<v1::ClassifyBatchRequest, v1::ClassifyBatchResponse> {
 public:
  ClassifyBatchCall(const ServiceContext& service, EventLoop* loop);
  ~ClassifyBatchCall() override;

 private:
  // One image of the call. Its result goes to a place of its own, so that
  // workers need no lock between them.
  class Item final : public BatchTask {
   public:
    void Done(const absl::Status& status, const Prediction* prediction,
              const TaskTiming& timing) override;

    ClassifyBatchCall* call = nullptr;
    v1::ClassifyResponse* result = nullptr;
  };

  void Renew() override;
  // Checks and submits the images; finishes the call at once if that fails.
  void OnArrived() override;
  void OnCancelled() override;

  absl::Status Submit();
  void OnItemDone(const absl::Status& status);
  void End(const absl::Status& status);

  const ServiceContext& service_;
  Clock::time_point received_;
  bool entered_ = false;

  std::vector<Item> items_;  // made before any is submitted
  std::atomic<size_t> unanswered_{0};
  Mutex mutex_;
  absl::Status first_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_SERVICES_CLASSIFY_BATCH_H_
