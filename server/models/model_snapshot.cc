#include "server/models/model_snapshot.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace vit {
namespace {

// Errors travel in HTTP/2 headers, which are small, and repeat what a peer
// sent.
constexpr size_t kMostListed = 10;
constexpr size_t kMostQuoted = 64;  // bytes

std::string Quoted(std::string_view text) {
  const std::string beginning(text.substr(0, kMostQuoted));
  return absl::StrCat("\"", absl::Utf8SafeCEscape(beginning),
                      text.size() > kMostQuoted ? "..." : "", "\"");
}

// "a, b, c and 7 more".
std::string Listed(const std::vector<std::string>& items) {
  const size_t listed = std::min(items.size(), kMostListed);
  std::string text = absl::StrJoin(items.begin(), items.begin() + listed, ", ");
  if (listed < items.size()) {
    absl::StrAppend(&text, " and ", items.size() - listed, " more");
  }
  return text;
}

// Newest first.
std::string VersionsOf(const ServingVersions& versions) {
  std::vector<std::string> names;
  for (const std::shared_ptr<const ServedModel>& model : versions.all) {
    names.push_back(model->version());
  }
  std::ranges::reverse(names);
  return Listed(names);
}

}  // namespace

ModelSnapshot::ModelSnapshot(
    std::vector<std::shared_ptr<const ServedModel>> models,
    std::string default_name, int canary_percent)
    : default_name_(std::move(default_name)), canary_percent_(canary_percent) {
  for (std::shared_ptr<const ServedModel>& model : models) {
    models_[model->name()].all.push_back(std::move(model));
  }
  for (auto& [name, versions] : models_) {
    const size_t count = versions.all.size();
    const bool apart = canary_percent > 0 && count > 1;
    versions.canary = versions.all[count - 1];
    versions.stable = versions.all[apart ? count - 2 : count - 1];
  }
  if (default_name_.empty() && !models_.empty()) {
    default_name_ = models_.begin()->first;
  }
}

absl::StatusOr<std::shared_ptr<const ServedModel>> ModelSnapshot::Pick(
    const ModelRequest& request, int draw) const {
  if (!request.version.empty() && !request.label.empty()) {
    return absl::InvalidArgumentError(
        "found both a version and a label, expected at most one of them");
  }
  const auto found = Find(request.name);
  if (!found.ok()) return found.status();
  const ServingVersions& versions = **found;
  if (!request.version.empty()) {
    for (const std::shared_ptr<const ServedModel>& model : versions.all) {
      if (model->version() == request.version) return model;
    }
    return absl::NotFoundError(absl::StrCat(
        "model ", versions.stable->name(), " has no version ",
        Quoted(request.version), ", its versions are ", VersionsOf(versions)));
  }
  if (request.label == kStableLabel) return versions.stable;
  if (request.label == kCanaryLabel) return versions.canary;
  if (!request.label.empty()) {
    return absl::NotFoundError(
        absl::StrCat("label ", Quoted(request.label),
                     " is unknown, expected stable or canary"));
  }
  return draw < canary_percent_ ? versions.canary : versions.stable;
}

absl::StatusOr<const ServingVersions*> ModelSnapshot::Find(
    std::string_view name) const {
  const bool named = !name.empty();
  const auto found = models_.find(named ? name : default_name_);
  if (found != models_.end()) return &found->second;
  if (models_.empty()) return absl::NotFoundError("no model is served");
  return absl::NotFoundError(
      absl::StrCat(named ? "model " : "the default model ",
                   Quoted(named ? name : default_name_),
                   " is not served, served are ", WhatServes()));
}

std::string ModelSnapshot::WhatServes() const {
  std::vector<std::string> items;
  for (const auto& [name, versions] : models_) {
    items.push_back(absl::StrCat(name, " (", VersionsOf(versions), ")"));
  }
  return Listed(items);
}

}  // namespace vit
