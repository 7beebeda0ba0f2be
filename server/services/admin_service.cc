#include "server/services/admin_service.h"

#include <vector>

#include "server/base/clock.h"
#include "server/rpc/function_handler.h"
#include "vit/admin/v1/admin.pb.h"

namespace vit {
namespace {

using Items =
    google::protobuf::RepeatedPtrField<admin::v1::ReloadModelsResponse::Item>;

void Fill(const std::vector<ReloadReport::Item>& from, Items* to) {
  for (const ReloadReport::Item& item : from) {
    auto* added = to->Add();
    added->set_name(item.name);
    added->set_version(item.version);
    added->set_reason(item.reason);
  }
}

admin::v1::ReloadModelsResponse ToProto(const ReloadReport& report) {
  admin::v1::ReloadModelsResponse response;
  Fill(report.loaded, response.mutable_loaded());
  Fill(report.refused, response.mutable_refused());
  Fill(report.still_refused, response.mutable_still_refused());
  Fill(report.unchanged, response.mutable_unchanged());
  Fill(report.retired, response.mutable_retired());
  Fill(report.kept, response.mutable_kept());
  response.mutable_skipped()->Add(report.skipped.begin(), report.skipped.end());
  response.set_seconds(Seconds(report.duration));
  return response;
}

}  // namespace

void AddAdminMethods(const RequestReload& request_reload,
                     MethodTable* methods) {
  using Reload = FunctionHandler<admin::v1::ReloadModelsRequest,
                                 admin::v1::ReloadModelsResponse>;
  (*methods)["/vit.admin.v1.Admin/ReloadModels"] =
      Reload::Method([request_reload](const admin::v1::ReloadModelsRequest&,
                                      const Reload::Answer& answer) {
        request_reload([answer](const absl::StatusOr<ReloadReport>& report) {
          if (report.ok()) {
            answer(ToProto(*report));
          } else {
            answer(report.status());
          }
        });
      });
}

}  // namespace vit
