#ifndef MNIST_VIT_SERVER_SERVICES_ADMIN_SERVICE_H_
#define MNIST_VIT_SERVER_SERVICES_ADMIN_SERVICE_H_

#include <functional>

#include "absl/status/statusor.h"
#include "server/models/reload_report.h"
#include "server/rpc/call.h"

namespace vit {

// Learns what a reload did. Called once, on any thread.
using OnReloaded = std::function<void(const absl::StatusOr<ReloadReport>&)>;

// Has the models reloaded soon, on another thread; thread-safe.
using RequestReload = std::function<void(OnReloaded done)>;

// Adds the methods of proto/vit/admin/v1/admin.proto.
void AddAdminMethods(const RequestReload& request_reload, MethodTable* methods);

}  // namespace vit

#endif  // MNIST_VIT_SERVER_SERVICES_ADMIN_SERVICE_H_
