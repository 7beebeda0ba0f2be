#include "server/models/repository_scan.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace vit {
namespace {

constexpr char kLayout[] = "NAME/VERSION/model.safetensors below it";

// What a path leads to, links followed; none if to nothing.
absl::StatusOr<std::optional<struct stat>> Stat(const std::string& path) {
  struct stat found = {};
  if (stat(path.c_str(), &found) == 0) return found;
  if (errno == ENOENT || errno == ENOTDIR) return std::nullopt;
  return absl::UnavailableError(
      absl::StrCat(path, ": cannot be read: ", std::strerror(errno)));
}

absl::StatusOr<bool> IsFolder(const std::string& path) {
  const auto found = Stat(path);
  if (!found.ok()) return found.status();
  return found->has_value() && S_ISDIR((*found)->st_mode);
}

// "SIZE bytes, inode N, changed at NANOSECONDS"; empty if it is no file.
absl::StatusOr<std::string> FileFingerprint(const std::string& path) {
  const auto found = Stat(path);
  if (!found.ok()) return found.status();
  if (!found->has_value() || !S_ISREG((*found)->st_mode)) return std::string();
  const struct stat& file = **found;
  return absl::StrCat(file.st_size, " bytes, inode ", file.st_ino,
                      ", changed at ", file.st_mtim.tv_sec, ".",
                      absl::Dec(file.st_mtim.tv_nsec, absl::kZeroPad9), "; ");
}

// The names in a folder, sorted, without those that begin with '.'. None if the
// folder has gone meanwhile.
absl::StatusOr<std::vector<std::string>> Names(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code error;
  std::filesystem::directory_iterator entry(folder, error);
  while (!error && entry != std::filesystem::directory_iterator()) {
    std::string name = entry->path().filename().string();
    if (!name.starts_with('.')) names.push_back(std::move(name));
    entry.increment(error);
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return absl::UnavailableError(
        absl::StrCat(folder, ": cannot be read: ", error.message()));
  }
  std::ranges::sort(names);
  return names;
}

// The paths of the folders in a folder.
absl::StatusOr<std::vector<std::string>> Folders(const std::string& folder) {
  absl::StatusOr<std::vector<std::string>> names = Names(folder);
  if (!names.ok()) return names;
  std::vector<std::string> folders;
  for (const std::string& name : *names) {
    const absl::StatusOr<bool> is_folder =
        IsFolder(absl::StrCat(folder, "/", name));
    if (!is_folder.ok()) return is_folder.status();
    if (*is_folder) folders.push_back(name);
  }
  return folders;
}

std::optional<int64_t> ParseVersion(const std::string& text) {
  int64_t version = 0;
  if (text.empty() || text[0] < '1' || text[0] > '9' ||
      !absl::SimpleAtoi(text, &version)) {
    return std::nullopt;
  }
  return version;
}

// Fingerprints the files; an empty fingerprint if there is no weights file.
absl::Status Fingerprint(ModelOnDisk& model) {
  absl::StatusOr<std::string> weights = FileFingerprint(model.weights);
  if (!weights.ok()) return weights.status();
  if (weights->empty()) return absl::OkStatus();
  model.fingerprint = absl::StrCat("weights: ", *weights);
  const std::pair<const char*, const std::string&> others[] = {
      {"golden: ", model.golden}, {"labels: ", model.labels}};
  for (const auto& [what, path] : others) {
    if (path.empty()) continue;
    const absl::StatusOr<std::string> other = FileFingerprint(path);
    if (!other.ok()) return other.status();
    absl::StrAppend(&model.fingerprint, what, *other);
  }
  return absl::OkStatus();
}

// Adds the version in PATH/NAME/VERSION to the scan, or why it is skipped.
absl::Status ScanVersion(const std::string& model_folder,
                         const std::string& name, const std::string& version,
                         RepositoryScan& scan) {
  const std::string folder = absl::StrCat(model_folder, "/", version);
  const std::optional<int64_t> number = ParseVersion(version);
  if (!number.has_value()) {
    scan.skipped.push_back(absl::StrCat(
        absl::Utf8SafeCEscape(folder),
        ": the folder's name is no version, expected a whole number from 1"));
    return absl::OkStatus();
  }
  ModelOnDisk model = {.name = name,
                       .version = *number,
                       .weights = folder + "/model.safetensors",
                       .golden = folder + "/model.golden.safetensors",
                       .labels = folder + "/labels.txt",
                       .fingerprint = ""};
  const auto labels = Stat(model.labels);
  if (!labels.ok()) return labels.status();
  if (!labels->has_value()) model.labels.clear();
  absl::Status status = Fingerprint(model);
  if (!status.ok()) return status;
  if (model.fingerprint.empty()) {
    scan.skipped.push_back(absl::StrCat(
        folder, ": has no file model.safetensors (is it being copied?)"));
  } else {
    scan.models.push_back(std::move(model));
  }
  return absl::OkStatus();
}

absl::Status ScanModel(const std::string& path, const std::string& name,
                       RepositoryScan& scan) {
  const std::string folder = absl::StrCat(path, "/", name);
  if (!IsModelName(name)) {
    scan.skipped.push_back(
        absl::StrCat(absl::Utf8SafeCEscape(folder),
                     ": the folder's name is no model's, expected letters, "
                     "digits, '_', '-' and single '.' only"));
    return absl::OkStatus();
  }
  scan.names.insert(name);
  const absl::StatusOr<std::vector<std::string>> versions = Folders(folder);
  if (!versions.ok()) return versions.status();
  for (const std::string& version : *versions) {
    absl::Status status = ScanVersion(folder, name, version, scan);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

bool IsModelName(std::string_view name) {
  return !name.empty() && name[0] != '.' &&
         name.find("..") == std::string_view::npos &&
         std::ranges::all_of(name, [](char c) {
           return absl::ascii_isalnum(static_cast<unsigned char>(c)) ||
                  c == '_' || c == '-' || c == '.';
         });
}

absl::StatusOr<RepositoryScan> ScanRepository(const std::string& path) {
  const auto found = Stat(path);
  if (!found.ok()) return found.status();
  if (!found->has_value()) {
    return absl::NotFoundError(
        absl::StrCat(path, ": no such folder, expected one with ", kLayout));
  }
  if (!S_ISDIR((*found)->st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is not a folder, expected one with ", kLayout));
  }
  const absl::StatusOr<std::vector<std::string>> names = Folders(path);
  if (!names.ok()) return names.status();
  RepositoryScan scan;
  for (const std::string& name : *names) {
    absl::Status status = ScanModel(path, name, scan);
    if (!status.ok()) return status;
  }
  std::ranges::sort(scan.models, {}, [](const ModelOnDisk& model) {
    return std::pair<const std::string&, int64_t>(model.name, model.version);
  });
  return scan;
}

absl::StatusOr<ModelOnDisk> FindModelFile(const std::string& weights,
                                          const std::string& golden) {
  ModelOnDisk model = {.name = "",
                       .version = 0,
                       .weights = weights,
                       .golden = golden,
                       .labels = "",
                       .fingerprint = ""};
  const auto found = Stat(weights);
  if (!found.ok()) return found.status();
  if (!found->has_value()) {
    return absl::NotFoundError(absl::StrCat(weights, ": no such file"));
  }
  const absl::Status status = Fingerprint(model);
  if (!status.ok()) return status;
  if (model.fingerprint.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(weights, ": is not a file, expected a weights file"));
  }
  return model;
}

}  // namespace vit
