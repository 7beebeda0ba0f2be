#include "server/models/model_repository.h"

#include <algorithm>
#include <chrono>
#include <exception>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/base/clock.h"

namespace vit {
namespace {

absl::Status CheckOptions(const RepositoryOptions& options) {
  if (options.path.empty() && options.model_file.empty()) {
    return absl::InvalidArgumentError(
        "found neither a model repository nor a model file, expected one of "
        "them or both");
  }
  if (options.versions < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("versions of a model that serve: found ", options.versions,
                     ", expected 1 or more"));
  }
  if (options.canary_percent < 0 || options.canary_percent > 100) {
    return absl::InvalidArgumentError(
        absl::StrCat("share of the canary: found ", options.canary_percent,
                     " percent, expected 0 to 100"));
  }
  if (options.canary_percent > 0 && options.versions < 2) {
    return absl::InvalidArgumentError(absl::StrCat(
        "share of the canary: found ", options.canary_percent,
        " percent, but only 1 version of a model that serves, expected 2 or "
        "more"));
  }
  return absl::OkStatus();
}

// A loader that throws, as for want of memory, must not end the process that
// serves.
absl::StatusOr<std::shared_ptr<ServedModel>> LoadContained(
    const ModelLoader& loader, const ModelOnDisk& disk) {
  try {
    absl::StatusOr<std::shared_ptr<ServedModel>> loaded = loader(disk);
    if (loaded.ok() && *loaded == nullptr) {
      return absl::InternalError("the loader gave no model");
    }
    return loaded;
  } catch (const std::exception& exception) {
    return absl::InternalError(
        absl::StrCat(disk.weights, ": exception: ", exception.what()));
  } catch (...) {
    return absl::InternalError(
        absl::StrCat(disk.weights, ": exception of unknown type"));
  }
}

}  // namespace

const char* ModelStateName(ModelState state) {
  switch (state) {
    case ModelState::kLoading:
      return "LOADING";
    case ModelState::kServing:
      return "SERVING";
    case ModelState::kRefused:
      return "REFUSED";
    case ModelState::kRetired:
      return "RETIRED";
  }
  return "UNKNOWN";
}

absl::StatusOr<std::unique_ptr<ModelRepository>> ModelRepository::Create(
    const RepositoryOptions& options, ModelLoader loader) {
  const absl::Status status = CheckOptions(options);
  if (!status.ok()) return status;
  return std::unique_ptr<ModelRepository>(
      new ModelRepository(options, std::move(loader)));
}

ModelRepository::ModelRepository(RepositoryOptions options, ModelLoader loader)
    : options_(std::move(options)), loader_(std::move(loader)) {
  Publish();
}

absl::StatusOr<ReloadReport> ModelRepository::Reload() {
  MutexLock reloading(&reload_mutex_);
  const Clock::time_point start = Clock::now();
  absl::StatusOr<RepositoryScan> scan = Scan();
  if (!scan.ok()) return scan.status();
  std::map<std::string, std::vector<const ModelOnDisk*>> folders;
  for (const ModelOnDisk& model : scan->models) {
    folders[model.name].push_back(&model);
  }
  {
    MutexLock lock(&mutex_);
    for (const auto& [key, entry] : entries_) folders[key.folder];
  }
  ReloadReport report;
  for (auto& [folder, versions] : folders) {
    std::ranges::reverse(versions);
    const bool gone = !scan->names.empty() && !scan->names.contains(folder);
    ReloadModel(folder, versions, /*may_retire_last=*/gone, report);
  }
  ForgetWhatIsGone(*scan);
  report.skipped = std::move(scan->skipped);
  report.duration = Clock::now() - start;
  return report;
}

absl::StatusOr<RepositoryScan> ModelRepository::Scan() const {
  RepositoryScan scan;
  if (!options_.path.empty()) {
    absl::StatusOr<RepositoryScan> folder = ScanRepository(options_.path);
    if (!folder.ok()) return folder;
    scan = *std::move(folder);
  }
  if (!options_.model_file.empty()) {
    absl::StatusOr<ModelOnDisk> file =
        FindModelFile(options_.model_file, options_.golden);
    if (!file.ok()) return file.status();
    scan.models.insert(scan.models.begin(), *std::move(file));
  }
  return scan;
}

void ModelRepository::ReloadModel(
    const std::string& folder, const std::vector<const ModelOnDisk*>& versions,
    bool may_retire_last, ReloadReport& report) {
  std::set<int64_t> good;
  for (const ModelOnDisk* const disk : versions) {
    if (std::ssize(good) == options_.versions) break;
    if (Ensure(*disk, report)) good.insert(disk->version);
  }
  RetireOthers(folder, good, may_retire_last, report);
  Publish();
}

// Whether a version whose files are as when it was last tried serves; nothing
// if it must be loaded.
std::optional<bool> ModelRepository::ServesUntried(const ModelOnDisk& disk,
                                                   ReloadReport& report) {
  MutexLock lock(&mutex_);
  Entry& entry = entries_[{disk.name, disk.version}];
  if (entry.name.empty()) {
    const bool is_file = disk.name.empty();
    entry.name = is_file ? disk.weights : disk.name;
    entry.version = is_file ? "" : absl::StrCat(disk.version);
  }
  if (entry.state == ModelState::kRetired || entry.tried != disk.fingerprint) {
    if (entry.model == nullptr) entry.state = ModelState::kLoading;
    return std::nullopt;
  }
  if (entry.refused) {
    report.still_refused.push_back({entry.name, entry.version, entry.reason});
  } else {
    entry.reason.clear();
    report.unchanged.push_back({entry.name, entry.version, ""});
  }
  return entry.model != nullptr;
}

// Loads a version if it is new or changed. Returns whether it serves, perhaps
// as it was loaded before.
bool ModelRepository::Ensure(const ModelOnDisk& disk, ReloadReport& report) {
  const std::optional<bool> serves = ServesUntried(disk, report);
  if (serves.has_value()) return *serves;
  absl::StatusOr<std::shared_ptr<ServedModel>> loaded = Load(disk);
  MutexLock lock(&mutex_);
  Entry& entry = entries_[{disk.name, disk.version}];
  entry.tried = disk.fingerprint;
  entry.refused = !loaded.ok();
  if (loaded.ok()) {
    // What served before lives on in the snapshot, so no model is destroyed
    // under the lock.
    entry.model = *std::move(loaded);
    entry.name = entry.model->name();
    entry.version = entry.model->version();
    entry.state = ModelState::kServing;
    entry.reason.clear();
    report.loaded.push_back({entry.name, entry.version, ""});
    return true;
  }
  entry.reason = std::string(loaded.status().message());
  report.refused.push_back({entry.name, entry.version, entry.reason});
  if (entry.model == nullptr) entry.state = ModelState::kRefused;
  return entry.model != nullptr;
}

absl::StatusOr<std::shared_ptr<ServedModel>> ModelRepository::Load(
    const ModelOnDisk& disk) const {
  const bool is_file = disk.name.empty();
  absl::Status status = absl::OkStatus();
  if (!is_file) status = CheckName(disk.name, disk.name);
  if (!status.ok()) return status;
  const Clock::time_point start = Clock::now();
  absl::StatusOr<std::shared_ptr<ServedModel>> loaded =
      LoadContained(loader_, disk);
  if (!loaded.ok()) return loaded;
  ServedModel& model = **loaded;
  if (is_file) {
    status = CheckName("", model.name());
    if (!status.ok()) return status;
  } else {
    model.info.name = disk.name;
    model.info.version = absl::StrCat(disk.version);
  }
  model.loaded_at = std::chrono::system_clock::now();
  model.load_duration = Clock::now() - start;
  return loaded;
}

// The model file and a folder must not serve under the same name.
absl::Status ModelRepository::CheckName(const std::string& folder,
                                        const std::string& name) const {
  MutexLock lock(&mutex_);
  for (const auto& [key, entry] : entries_) {
    if (key.folder != folder && entry.model != nullptr && entry.name == name) {
      return absl::AlreadyExistsError(absl::StrCat(
          "the name \"", name, "\" is taken by the model of ",
          key.folder.empty() ? options_.model_file
                             : absl::StrCat(options_.path, "/", key.folder)));
    }
  }
  return absl::OkStatus();
}

// Retires the versions of a folder that are not among the good ones.
void ModelRepository::RetireOthers(const std::string& folder,
                                   const std::set<int64_t>& good,
                                   bool may_retire_last, ReloadReport& report) {
  MutexLock lock(&mutex_);
  for (auto& [key, entry] : entries_) {
    if (key.folder != folder || entry.model == nullptr ||
        good.contains(key.version)) {
      continue;
    }
    if (good.empty() && !may_retire_last) {
      if (!entry.refused) {
        entry.reason =
            "gone from disk; serves on because no other version of the model "
            "does";
      }
      report.kept.push_back({entry.name, entry.version, entry.reason});
      continue;
    }
    report.retired.push_back({entry.name, entry.version, ""});
    entry.retired = entry.model;
    entry.model.reset();  // the snapshot still holds it
    entry.state = ModelState::kRetired;
    entry.reason.clear();
  }
}

// Switches to the models that serve.
void ModelRepository::Publish() {
  std::shared_ptr<const ModelSnapshot> old;  // ends after the lock
  MutexLock lock(&mutex_);
  std::vector<std::shared_ptr<const ServedModel>> models;
  std::string default_name = options_.default_model;
  for (const auto& [key, entry] : entries_) {
    if (entry.model == nullptr) continue;
    if (default_name.empty() && key.folder.empty()) default_name = entry.name;
    models.push_back(entry.model);
  }
  old = std::exchange(snapshot_, std::make_shared<const ModelSnapshot>(
                                     std::move(models), std::move(default_name),
                                     options_.canary_percent));
}

void ModelRepository::ForgetWhatIsGone(const RepositoryScan& scan) {
  std::set<Key> on_disk;
  for (const ModelOnDisk& model : scan.models) {
    on_disk.insert({model.name, model.version});
  }
  MutexLock lock(&mutex_);
  std::erase_if(entries_, [&on_disk](const auto& item) {
    const auto& [key, entry] = item;
    return entry.model == nullptr && entry.retired.expired() &&
           !on_disk.contains(key);
  });
}

std::shared_ptr<const ModelSnapshot> ModelRepository::snapshot() const {
  MutexLock lock(&mutex_);
  return snapshot_;
}

std::vector<ModelStatus> ModelRepository::Models() const {
  MutexLock lock(&mutex_);
  std::vector<ModelStatus> models;
  for (const auto& [key, entry] : entries_) {
    ModelStatus status = {.name = entry.name,
                          .version = entry.version,
                          .state = entry.state,
                          .reason = entry.reason,
                          .model = entry.model};
    const auto versions = snapshot_->models().find(entry.name);
    if (entry.model != nullptr && versions != snapshot_->models().end()) {
      status.is_stable = versions->second.stable == entry.model;
      status.is_canary = versions->second.canary == entry.model;
    }
    models.push_back(std::move(status));
  }
  return models;
}

}  // namespace vit
