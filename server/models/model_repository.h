#ifndef MNIST_VIT_SERVER_MODELS_MODEL_REPOSITORY_H_
#define MNIST_VIT_SERVER_MODELS_MODEL_REPOSITORY_H_

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "server/base/mutex.h"
#include "server/models/model_snapshot.h"
#include "server/models/reload_report.h"
#include "server/models/repository_scan.h"
#include "server/models/served_model.h"

namespace vit {

struct RepositoryOptions {
  std::string path = "";  // the repository's folder; empty: none
  // One weights file that is served beside the folder's models, under the name
  // and version that it holds; empty: none. And the path of its golden answers.
  std::string model_file = "";
  std::string golden = "";
  int versions = 1;        // of each model that serve, from 1
  int canary_percent = 0;  // 0 to 100; above 0 it wants two versions or more
  // The model of calls that name none. Empty: the model file's; without one the
  // first by name.
  std::string default_model = "";
};

enum class ModelState {
  kLoading,
  kServing,
  kRefused,  // loaded or checked with an error; does not serve
  kRetired,  // served once; calls under way may still hold it
};

// "LOADING", "SERVING", "REFUSED" or "RETIRED".
const char* ModelStateName(ModelState state);

// One version as an operator sees it.
struct ModelStatus {
  std::string name;
  std::string version;
  ModelState state = ModelState::kLoading;
  // Why it was refused. Of a version that serves: what is wrong with what lies
  // on disk now, while the version that was loaded before serves on.
  std::string reason = "";
  bool is_stable = false;
  bool is_canary = false;
  std::shared_ptr<const ServedModel> model;  // null unless it serves
};

// The models that serve, and their versions on disk.
//
// Reload() looks at the disk and loads what is new or changed beside what
// serves; then it switches. Of each model the newest `versions` that are good
// serve:
//
// - A version that the loader refuses does not serve, and is not tried again
//   until its files change. An older version that is good serves in its place,
//   and a version whose files changed for the worse serves on as loaded before.
// - A version that is gone from disk, or that newer ones have replaced, is
//   retired as soon as another version of its model serves. The last one serves
//   on, so that a model whose old version is removed before the new one is good
//   has no gap.
// - A model whose whole folder is gone is retired: that is how an operator
//   removes a model. But a repository without any model is taken for a volume
//   that is not mounted, and retires nothing.
//
// Thread-safe. Pick and snapshot never wait for a reload.
class ModelRepository {
 public:
  // Loads nothing yet. InvalidArgument if an option is out of range or there
  // is neither a folder nor a file.
  static absl::StatusOr<std::unique_ptr<ModelRepository>> Create(
      const RepositoryOptions& options, ModelLoader loader);

  ModelRepository(const ModelRepository&) = delete;
  ModelRepository& operator=(const ModelRepository&) = delete;

  // Calls from several threads run one after another, each with a look at the
  // disk of its own, so that each caller's changes are seen. An error means
  // that the disk could not be read, and that nothing has changed: those of
  // ScanRepository and FindModelFile. A model that is refused is no error: it
  // is in the report.
  absl::StatusOr<ReloadReport> Reload() ABSL_LOCKS_EXCLUDED(reload_mutex_);

  // What serves now; hold it as briefly as a call's start takes.
  std::shared_ptr<const ModelSnapshot> snapshot() const
      ABSL_LOCKS_EXCLUDED(mutex_);

  // snapshot()->Pick().
  absl::StatusOr<std::shared_ptr<const ServedModel>> Pick(
      const ModelRequest& request, int draw) const {
    return snapshot()->Pick(request, draw);
  }

  // All versions that were ever loaded or refused and are still on disk, serve,
  // or are held by calls; by name and version.
  std::vector<ModelStatus> Models() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Key {
    std::string folder;  // empty: the model file
    int64_t version = 0;
    auto operator<=>(const Key&) const = default;
  };
  struct Entry {
    std::string name;  // as served; of a model file from when it is loaded
    std::string version;
    ModelState state = ModelState::kLoading;
    std::string reason;
    std::string tried;     // the fingerprint that was last loaded or refused
    bool refused = false;  // which of the two
    std::shared_ptr<const ServedModel> model;  // while it serves
    std::weak_ptr<const ServedModel> retired;  // afterwards
  };

  ModelRepository(RepositoryOptions options, ModelLoader loader);

  absl::StatusOr<RepositoryScan> Scan() const;
  // `versions` are those of one folder on disk, newest first.
  void ReloadModel(const std::string& folder,
                   const std::vector<const ModelOnDisk*>& versions,
                   bool may_retire_last, ReloadReport& report)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(reload_mutex_);
  bool Ensure(const ModelOnDisk& disk, ReloadReport& report)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(reload_mutex_);
  std::optional<bool> ServesUntried(const ModelOnDisk& disk,
                                    ReloadReport& report)
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::shared_ptr<ServedModel>> Load(
      const ModelOnDisk& disk) const ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status CheckName(const std::string& folder,
                         const std::string& name) const
      ABSL_LOCKS_EXCLUDED(mutex_);
  void RetireOthers(const std::string& folder, const std::set<int64_t>& good,
                    bool may_retire_last, ReloadReport& report)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(reload_mutex_);
  void Publish() ABSL_LOCKS_EXCLUDED(mutex_);
  void ForgetWhatIsGone(const RepositoryScan& scan) ABSL_LOCKS_EXCLUDED(mutex_);

  const RepositoryOptions options_;
  const ModelLoader loader_;

  Mutex reload_mutex_ ABSL_ACQUIRED_BEFORE(mutex_);  // held for a whole reload
  mutable Mutex mutex_;  // never held while a model is loaded or destroyed
  std::map<Key, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const ModelSnapshot> snapshot_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_MODELS_MODEL_REPOSITORY_H_
