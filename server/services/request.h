#ifndef MNIST_VIT_SERVER_SERVICES_REQUEST_H_
#define MNIST_VIT_SERVER_SERVICES_REQUEST_H_

#include <string>

#include "absl/status/statusor.h"
#include "model/classifier.h"
#include "model/image.h"
#include "server/batching/batch_scheduler.h"
#include "vit/v1/classifier.pb.h"

namespace vit {

// Between the wire and the scheduler.

// A view of the bytes as an image of this shape; InvalidArgument, with the
// expected and the actual size, if they are none. `field` says where they came
// from, such as "images[3]".
absl::StatusOr<Image> ToImage(const std::string& bytes, const ImageShape& shape,
                              const std::string& field = "image");

// Fills a response but for its total time, whatever it held before.
void FillResponse(const Prediction& prediction, const TaskTiming& timing,
                  v1::ClassifyResponse* response);

// Fills everything of an explanation but the classification.
void FillExplanation(const ModelInfo& model, const Attention& attention,
                     v1::ExplainResponse* response);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_SERVICES_REQUEST_H_
