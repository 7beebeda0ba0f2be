#ifndef MNIST_VIT_SERVER_REQUEST_H_
#define MNIST_VIT_SERVER_REQUEST_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/classifier.h"
#include "model/image.h"
#include "server/batch_scheduler.h"
#include "vit/v1/classifier.pb.h"

namespace vit {

// Between the wire and the scheduler.

// A view of the bytes as an image of this shape; InvalidArgument, with the
// expected and the actual size, if they are none. `field` says where they came
// from, such as "images[3]".
absl::StatusOr<Image> ToImage(const std::string& bytes, const ImageShape& shape,
                              const std::string& field = "image");

// The codes of absl::Status and gRPC are the same numbers.
grpc::Status ToGrpcStatus(const absl::Status& status);

// Where the status says when to try again, tells the client so in the trailers:
// gRPC's own retries wait that long (gRFC A6). Before the call is finished.
void AddRetryHint(const absl::Status& status, grpc::ServerContext& context);

// The call's deadline by the scheduler's clock; time_point::max() if it has
// none.
Clock::time_point Deadline(const grpc::ServerContext& context);

// Fills a response but for its total time, whatever it held before.
void FillResponse(const Prediction& prediction, const TaskTiming& timing,
                  v1::ClassifyResponse* response);

// Fills everything of an explanation but the classification.
void FillExplanation(const ModelInfo& model, const Attention& attention,
                     v1::ExplainResponse* response);

// In seconds, for the wire.
double Seconds(Clock::duration duration);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_REQUEST_H_
