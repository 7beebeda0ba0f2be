#ifndef MNIST_VIT_SERVER_SERVICES_REQUEST_H_
#define MNIST_VIT_SERVER_SERVICES_REQUEST_H_

#include <exception>
#include <new>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/classifier.h"
#include "model/image.h"
#include "server/base/clock.h"
#include "server/batching/task.h"
#include "vit/v1/classifier.pb.h"

namespace vit {

// Between the wire and the scheduler.

// A view of the bytes as an image of this shape; InvalidArgument, with the
// expected and the actual size, if they are none.
absl::StatusOr<Image> ToImage(const std::string& bytes,
                              const ImageShape& shape);
// The same for one of several: the error names it as "images[index]".
absl::StatusOr<Image> ToImage(const std::string& bytes, const ImageShape& shape,
                              int index);

// Fills a response, whatever it held before. `total` is the time from the
// arrival of the request.
void FillResponse(const Prediction& prediction, const TaskTiming& timing,
                  Clock::duration total, v1::ClassifyResponse* response);

// Fills everything of an explanation but the classification.
void FillExplanation(const ModelInfo& model, const Attention& attention,
                     v1::ExplainResponse* response);

// Runs what may run out of memory; the error if it did.
template <typename Function>
absl::Status WithinMemory(Function function) {
  try {
    function();
    return absl::OkStatus();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("the server is out of memory");
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

}  // namespace vit

#endif  // MNIST_VIT_SERVER_SERVICES_REQUEST_H_
