#include "server/rpc/reflection_service.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor.pb.h>

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "grpc/reflection/v1/reflection.pb.h"
#include "grpc/reflection/v1alpha/reflection.pb.h"
#include "server/rpc/message.h"

namespace vit {
namespace {

using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;

// The file and those that it imports, each once.
template <typename Files>
void AddFile(const FileDescriptor* file, std::set<const FileDescriptor*>* seen,
             Files* files) {
  if (!seen->insert(file).second) return;
  google::protobuf::FileDescriptorProto proto;
  file->CopyTo(&proto);
  files->add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file->dependency_count(); ++i) {
    AddFile(file->dependency(i), seen, files);
  }
}

template <typename Response>
void SetError(absl::StatusCode code, const std::string& message,
              Response* response) {
  auto* error = response->mutable_error_response();
  error->set_error_code(static_cast<int>(code));
  error->set_error_message(message);
}

template <typename Response>
void SetFile(const FileDescriptor* file, const std::string& wanted,
             Response* response) {
  if (file == nullptr) {
    return SetError(absl::StatusCode::kNotFound,
                    absl::StrCat("unknown: '", wanted, "'"), response);
  }
  std::set<const FileDescriptor*> seen;
  AddFile(file, &seen, response->mutable_file_descriptor_response());
}

template <typename Request, typename Response>
void SetExtensions(const Request& request, Response* response) {
  const DescriptorPool* pool = DescriptorPool::generated_pool();
  const std::string& name = request.all_extension_numbers_of_type();
  const auto* type = pool->FindMessageTypeByName(name);
  if (type == nullptr) {
    return SetError(absl::StatusCode::kNotFound,
                    absl::StrCat("unknown type: '", name, "'"), response);
  }
  std::vector<const FieldDescriptor*> extensions;
  pool->FindAllExtensions(type, &extensions);
  auto* numbers = response->mutable_all_extension_numbers_response();
  numbers->set_base_type_name(name);
  for (const FieldDescriptor* extension : extensions) {
    numbers->add_extension_number(extension->number());
  }
}

template <typename Request, typename Response>
void Answer(const std::vector<std::string>& services, const Request& request,
            Response* response) {
  const DescriptorPool* pool = DescriptorPool::generated_pool();
  response->set_valid_host(request.host());
  *response->mutable_original_request() = request;
  switch (request.message_request_case()) {
    case Request::kListServices:
      for (const std::string& service : services) {
        response->mutable_list_services_response()->add_service()->set_name(
            service);
      }
      return;
    case Request::kFileByFilename:
      return SetFile(pool->FindFileByName(request.file_by_filename()),
                     request.file_by_filename(), response);
    case Request::kFileContainingSymbol:
      return SetFile(
          pool->FindFileContainingSymbol(request.file_containing_symbol()),
          request.file_containing_symbol(), response);
    case Request::kFileContainingExtension: {
      const auto& wanted = request.file_containing_extension();
      const auto* type = pool->FindMessageTypeByName(wanted.containing_type());
      const auto* extension =
          type == nullptr
              ? nullptr
              : pool->FindExtensionByNumber(type, wanted.extension_number());
      return SetFile(extension == nullptr ? nullptr : extension->file(),
                     wanted.containing_type(), response);
    }
    case Request::kAllExtensionNumbersOfType:
      return SetExtensions(request, response);
    default:
      return SetError(absl::StatusCode::kInvalidArgument,
                      "expected one of the requests, found none", response);
  }
}

}  // namespace

// One request at a time: the next is read when the answer was written. All
// on the loop's thread.
template <typename Request, typename Response>
class ReflectionService::Handler final : public CallHandler {
 public:
  Handler(const ReflectionService* reflection, Call* call)
      : CallHandler(call), reflection_(reflection) {}

 private:
  void OnMessage(grpc::ByteBuffer& message) override {
    Request request;
    if (absl::Status s = ParseMessage(message, &request); !s.ok()) {
      return call()->Finish(s);
    }
    Response response;
    Answer(reflection_->services_, request, &response);
    writing_ = true;
    call()->Write(SerializeMessage(response), /*more=*/false);
  }

  void OnWritten(bool ok) override {
    writing_ = false;
    if (draining_) return Drain();
    if (ok) call()->Read();
  }

  void OnClosed() override { call()->Finish(absl::OkStatus()); }
  void OnCancelled() override { call()->Finish(absl::CancelledError()); }
  void OnDrain() override {
    draining_ = true;
    if (!writing_) Drain();
  }

  void Drain() {
    call()->Finish(absl::UnavailableError("server is shutting down"));
  }

  const ReflectionService* const reflection_;
  bool writing_ = false;
  bool draining_ = false;
};

ReflectionService::ReflectionService(std::vector<std::string> services)
    : services_(std::move(services)) {}

void ReflectionService::AddMethods(MethodTable* methods) {
  namespace v1 = grpc::reflection::v1;
  namespace v1alpha = grpc::reflection::v1alpha;
  using V1 = Handler<v1::ServerReflectionRequest, v1::ServerReflectionResponse>;
  using V1Alpha = Handler<v1alpha::ServerReflectionRequest,
                          v1alpha::ServerReflectionResponse>;
  (*methods)["/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"] = {
      .new_handler = [this](Call* call) -> std::unique_ptr<CallHandler> {
        return std::make_unique<V1>(this, call);
      },
      .is_stream = true};
  (*methods)
      ["/grpc.reflection.v1alpha.ServerReflection/"
       "ServerReflectionInfo"] = {
          .new_handler = [this](Call* call) -> std::unique_ptr<CallHandler> {
            return std::make_unique<V1Alpha>(this, call);
          },
          .is_stream = true};
}

}  // namespace vit
