#include "server/services/models_service.h"

#include <chrono>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/base/clock.h"
#include "server/rpc/function_handler.h"
#include "vit/v1/models.pb.h"

namespace vit {
namespace {

v1::Model::State ToProto(ModelState state) {
  switch (state) {
    case ModelState::kLoading:
      return v1::Model::LOADING;
    case ModelState::kServing:
      return v1::Model::SERVING;
    case ModelState::kRefused:
      return v1::Model::REFUSED;
    case ModelState::kRetired:
      return v1::Model::RETIRED;
  }
  return v1::Model::STATE_UNSPECIFIED;
}

void FillServing(const ServedModel& served, v1::Model* model) {
  const ModelInfo& info = served.info;
  model->set_precision(served.precision);
  model->set_sha256(info.digest);
  model->set_image_height(info.image.height);
  model->set_image_width(info.image.width);
  model->set_image_channels(info.image.channels);
  model->set_patch_size(info.patch_size);
  model->set_tokens(info.tokens);
  model->set_layers(info.layers);
  model->set_heads(info.heads);
  model->mutable_labels()->Add(info.labels.begin(), info.labels.end());
  const auto since = std::chrono::duration_cast<std::chrono::nanoseconds>(
      served.loaded_at.time_since_epoch());
  constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;
  model->mutable_loaded_at()->set_seconds(since.count() /
                                          kNanosecondsPerSecond);
  model->mutable_loaded_at()->set_nanos(
      static_cast<int32_t>(since.count() % kNanosecondsPerSecond));
  model->set_load_seconds(Seconds(served.load_duration));
}

void Fill(const ModelStatus& status, v1::Model* model) {
  model->set_name(status.name);
  model->set_version(status.version);
  model->set_state(ToProto(status.state));
  model->set_reason(status.reason);
  model->set_stable(status.is_stable);
  model->set_canary(status.is_canary);
  if (status.model != nullptr) FillServing(*status.model, model);
}

bool Matches(const ModelStatus& status, const v1::GetModelRequest& request) {
  const bool name = request.name().empty() || request.name() == status.name;
  const bool version = request.version().empty()
                           ? status.is_stable
                           : request.version() == status.version;
  return name && version;
}

absl::StatusOr<v1::Model> Find(const std::vector<ModelStatus>& all,
                               const v1::GetModelRequest& request) {
  std::string there_is;
  for (const ModelStatus& status : all) {
    if (Matches(status, request)) {
      v1::Model model;
      Fill(status, &model);
      return model;
    }
    absl::StrAppend(&there_is, there_is.empty() ? "" : ", ", status.name,
                    " version ", status.version);
  }
  return absl::NotFoundError(absl::StrCat(
      "unknown model '", request.name(), "' version '", request.version(),
      "'; there is: ", there_is.empty() ? "none" : there_is));
}

}  // namespace

void AddModelsMethods(const ListModels& list, MethodTable* methods) {
  using List = FunctionHandler<v1::ListModelsRequest, v1::ListModelsResponse>;
  using Get = FunctionHandler<v1::GetModelRequest, v1::Model>;
  (*methods)["/vit.v1.Models/ListModels"] = List::Method(
      [list](const v1::ListModelsRequest&, const List::Answer& answer) {
        v1::ListModelsResponse response;
        for (const ModelStatus& status : list()) {
          Fill(status, response.add_models());
        }
        answer(response);
      });
  (*methods)["/vit.v1.Models/GetModel"] = Get::Method(
      [list](const v1::GetModelRequest& request, const Get::Answer& answer) {
        answer(Find(list(), request));
      });
}

}  // namespace vit
