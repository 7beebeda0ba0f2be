#ifndef MNIST_VIT_SERVER_MODELS_MODEL_SNAPSHOT_H_
#define MNIST_VIT_SERVER_MODELS_MODEL_SNAPSHOT_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/models/served_model.h"

namespace vit {

// Labels that a call can give instead of a version.
inline constexpr std::string_view kStableLabel = "stable";
inline constexpr std::string_view kCanaryLabel = "canary";

// Which model a call wants. What is empty is left to the server. At most one of
// version and label.
struct ModelRequest {
  std::string_view name = "";
  std::string_view version = "";
  std::string_view label = "";
};

// The versions of one model that serve. `canary` is the newest. So is `stable`,
// unless a share of the calls goes to the canary and there are two versions or
// more: then it is the one before.
struct ServingVersions {
  std::vector<std::shared_ptr<const ServedModel>>
      all;  // oldest first, not empty
  std::shared_ptr<const ServedModel> stable;
  std::shared_ptr<const ServedModel> canary;
};

// All that serves at one moment. Immutable, so thread-safe.
class ModelSnapshot {
 public:
  // `models`: of each name, older versions first. `default_name` is the model
  // of calls that name none; empty: the first by name. `canary_percent`, 0 to
  // 100, is the share of the calls for no certain version that the newest
  // version gets.
  ModelSnapshot(std::vector<std::shared_ptr<const ServedModel>> models,
                std::string default_name, int canary_percent);

  // The version for one call. `draw`, 0 to 99, decides between stable and
  // canary where the call leaves that open: below canary_percent it is the
  // canary. Numbers that count up share as well as random ones.
  //
  // NotFound if there is no such model, version or label, with what there is;
  // InvalidArgument if both a version and a label are given.
  absl::StatusOr<std::shared_ptr<const ServedModel>> Pick(
      const ModelRequest& request, int draw) const;

  // By name.
  const std::map<std::string, ServingVersions, std::less<>>& models() const {
    return models_;
  }

 private:
  absl::StatusOr<const ServingVersions*> Find(std::string_view name) const;
  std::string WhatServes() const;

  std::map<std::string, ServingVersions, std::less<>> models_;
  std::string default_name_;
  int canary_percent_;
};

}  // namespace vit

#endif  // MNIST_VIT_SERVER_MODELS_MODEL_SNAPSHOT_H_
