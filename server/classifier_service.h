#ifndef MNIST_VIT_SERVER_CLASSIFIER_SERVICE_H_
#define MNIST_VIT_SERVER_CLASSIFIER_SERVICE_H_

#include "model/classifier.h"
#include "server/batch_scheduler.h"
#include "server/call_tracker.h"
#include "server/metrics.h"
#include "vit/v1/classifier.grpc.pb.h"

namespace vit {

// What every call needs. All of it outlives the calls.
struct ServiceContext {
  ModelInfo model;
  int max_batch_images = 0;  // the most images of one ClassifyBatch
  BatchScheduler* scheduler = nullptr;
  Metrics* metrics = nullptr;
  CallTracker* calls = nullptr;
};

// The gRPC service of proto/vit/v1/classifier.proto, on gRPC's callback API: no
// thread waits for a call. A call is itself the task that the scheduler queues.
// Thread-safe.
class ClassifierService final : public v1::Classifier::CallbackService {
 public:
  explicit ClassifierService(ServiceContext context);

  grpc::ServerUnaryReactor* Classify(grpc::CallbackServerContext* context,
                                     const v1::ClassifyRequest* request,
                                     v1::ClassifyResponse* response) override;
  grpc::ServerUnaryReactor* ClassifyBatch(
      grpc::CallbackServerContext* context,
      const v1::ClassifyBatchRequest* request,
      v1::ClassifyBatchResponse* response) override;
  grpc::ServerBidiReactor<v1::ClassifyStreamRequest,
                          v1::ClassifyStreamResponse>*
  ClassifyStream(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Explain(grpc::CallbackServerContext* context,
                                    const v1::ExplainRequest* request,
                                    v1::ExplainResponse* response) override;

 private:
  const ServiceContext context_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_CLASSIFIER_SERVICE_H_
