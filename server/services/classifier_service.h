#ifndef MNIST_VIT_SERVER_SERVICES_CLASSIFIER_SERVICE_H_
#define MNIST_VIT_SERVER_SERVICES_CLASSIFIER_SERVICE_H_

#include "model/classifier.h"
#include "server/batching/batch_scheduler.h"
#include "server/rpc/call_tracker.h"
#include "server/rpc/event_loop.h"
#include "server/telemetry/metrics.h"
#include "vit/v1/classifier.grpc.pb.h"

namespace vit {

// What every call needs. All of it outlives the calls.
struct ServiceContext {
  ModelInfo model;
  int max_batch_images = 0;  // the most images of one ClassifyBatch
  BatchScheduler* scheduler = nullptr;
  Metrics* metrics = nullptr;
  CallTracker* calls = nullptr;
  v1::Classifier::AsyncService* grpc = nullptr;  // the ClassifierService's own
};

// The gRPC service of proto/vit/v1/classifier.proto, on gRPC's asynchronous
// API: no thread waits for a call. A call is itself the task that the scheduler
// queues.
class ClassifierService {
 public:
  explicit ClassifierService(ServiceContext context);

  // To be registered before the server starts.
  grpc::Service* grpc() { return &grpc_; }

  // Waits for calls of every method, and takes them until the server shuts
  // down. Before the loop starts.
  void Serve(EventLoop* loop);

 private:
  ServiceContext context_;
  v1::Classifier::AsyncService grpc_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_SERVICES_CLASSIFIER_SERVICE_H_
