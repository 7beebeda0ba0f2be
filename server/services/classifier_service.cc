#include "server/services/classifier_service.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/services/classifier_codecs.h"
#include "server/services/stream_call.h"
#include "server/services/unary_job.h"
#include "vit/v1/classifier.grpc.pb.h"

namespace vit {
namespace {

template <typename Handler>
RpcMethod MethodOf(ServiceContext* context) {
  return {.new_handler = [context](Call* call) -> std::unique_ptr<CallHandler> {
    return std::make_unique<Handler>(context, call);
  }};
}

}  // namespace

void AddClassifierMethods(ServiceContext* context, size_t max_explanations,
                          MethodTable* methods) {
  const std::string service =
      absl::StrCat("/", v1::Classifier::service_full_name(), "/");
  (*methods)[service + "Classify"] = MethodOf<UnaryJob<ClassifyCodec>>(context);
  (*methods)[service + "ClassifyBatch"] =
      MethodOf<UnaryJob<ClassifyBatchCodec>>(context);
  RpcMethod& stream = (*methods)[service + "ClassifyStream"];
  stream = MethodOf<StreamCall<ClassifyStreamCodec>>(context);
  stream.is_stream = true;
  RpcMethod& explain = (*methods)[service + "Explain"];
  explain = MethodOf<UnaryJob<ExplainCodec>>(context);
  explain.max_calls = max_explanations;
}

}  // namespace vit
