#ifndef MNIST_VIT_SERVER_CLASSIFY_BATCH_H_
#define MNIST_VIT_SERVER_CLASSIFY_BATCH_H_

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "server/classifier_service.h"
#include "server/mutex.h"

namespace vit {

// One ClassifyBatch: as many tasks as images, taken by the scheduler all or
// none, perhaps computed in several batches by several workers. Finishes with
// the last of them; if any fails, the call fails. Destroys itself when gRPC is
// done with it.
class ClassifyBatchCall final : public grpc::ServerUnaryReactor {
 public:
  ClassifyBatchCall(const ServiceContext& service,
                    v1::ClassifyBatchResponse* response);

  // Checks and submits the images; finishes the call at once if that fails.
  void Start(grpc::CallbackServerContext& context,
             const v1::ClassifyBatchRequest& request);

  void OnCancel() override;
  void OnDone() override;

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

  absl::Status Submit(const grpc::CallbackServerContext& context,
                      const v1::ClassifyBatchRequest& request);
  void OnItemDone(const absl::Status& status);
  void End(const absl::Status& status);

  const ServiceContext& service_;
  v1::ClassifyBatchResponse* const response_;
  const Clock::time_point received_;
  bool entered_ = false;

  std::vector<Item> items_;  // made before any is submitted
  std::atomic<bool> submitted_{false};
  std::atomic<size_t> unanswered_{0};
  Mutex mutex_;
  absl::Status first_error_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_CLASSIFY_BATCH_H_
