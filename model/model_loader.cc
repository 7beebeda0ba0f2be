#include "model/model_loader.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/self_check.h"
#include "model/weights.h"

namespace vit {
namespace {

absl::StatusOr<std::optional<GoldenSet>> LoadGolden(
    const ModelLoaderOptions& options, const ModelInfo& info) {
  if (options.golden == "none") return std::nullopt;
  const std::string path = options.golden.empty()
                               ? DefaultGoldenPath(options.model)
                               : options.golden;
  absl::StatusOr<GoldenSet> golden = LoadGoldenSet(path, info);
  if (golden.ok()) return *std::move(golden);
  return absl::Status(
      golden.status().code(),
      absl::StrCat(std::string(golden.status().message()),
                   " (--golden names another file, --golden=none skips the "
                   "check)"));
}

// A model of this precision, checked; one classifier for each worker.
absl::StatusOr<LoadedModel> MakeModel(const VitWeights& weights,
                                      const std::optional<GoldenSet>& golden,
                                      int max_batch_size, Precision precision,
                                      int workers) {
  auto model = VitModel::Create(
      weights, {.max_batch_size = max_batch_size, .precision = precision});
  if (!model.ok()) return model.status();
  LoadedModel loaded;
  loaded.model = *std::move(model);
  loaded.precision = precision;
  for (int i = 0; i < workers; ++i) {
    auto classifier = loaded.model->NewClassifier();
    if (!classifier.ok()) return classifier.status();
    // The first is warm before it is checked, so that a model that fails the
    // check costs no more than it must.
    absl::Status status = WarmUp(**classifier, loaded.model->images_at_once());
    if (!status.ok()) return status;
    if (i == 0 && golden.has_value()) {
      status = CheckGolden(**classifier, *golden, GoldenTolerance(precision));
      if (!status.ok()) return status;
    }
    loaded.classifiers.push_back(*std::move(classifier));
  }
  loaded.notes.push_back(
      golden.has_value()
          ? absl::StrCat("golden images: all ", golden->images,
                         " answered as in training, logits within ",
                         GoldenTolerance(precision))
          : "golden images: not checked, as --golden=none asks");
  return loaded;
}

// "NAME (why not)".
std::string Refusal(Precision precision, const absl::Status& status) {
  const std::string name = PrecisionName(precision);
  std::string reason(status.message());
  if (reason.starts_with(name + ": ")) reason.erase(0, name.size() + 2);
  return absl::StrCat(name, " (", reason, ")");
}

std::string ChoiceNote(Precision precision,
                       const std::vector<std::string>& refused) {
  std::string note =
      absl::StrCat("precision ", PrecisionName(precision),
                   ": the fastest that this CPU and the golden images allow");
  for (const std::string& refusal : refused) {
    absl::StrAppend(&note, ", not ", refusal);
  }
  return note;
}

}  // namespace

absl::StatusOr<std::optional<Precision>> ParsePrecision(
    const std::string& text) {
  if (text == "auto") return std::nullopt;
  for (const Precision precision :
       {Precision::kF32, Precision::kBf16, Precision::kInt8}) {
    if (text == PrecisionName(precision)) return precision;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("expected auto, f32, bf16 or int8, found '", text, "'"));
}

absl::StatusOr<LoadedModel> LoadModel(const ModelLoaderOptions& options,
                                      int workers) {
  const absl::StatusOr<VitWeights> weights = LoadVitWeights(options.model);
  if (!weights.ok()) return weights.status();
  const auto golden = LoadGolden(options, ModelInfoOf(*weights));
  if (!golden.ok()) return golden.status();
  const auto make = [&](Precision precision) {
    return MakeModel(*weights, *golden, options.max_batch_size, precision,
                     workers);
  };
  if (options.precision.has_value()) {
    absl::StatusOr<LoadedModel> loaded = make(*options.precision);
    if (!loaded.ok()) return loaded.status();
    loaded->notes.emplace_back(absl::StrCat(
        "precision ", PrecisionName(loaded->precision), ", as asked for"));
    return loaded;
  }
  // The fastest first.
  std::vector<std::string> refused;
  absl::StatusOr<LoadedModel> loaded;
  for (const Precision precision :
       {Precision::kInt8, Precision::kBf16, Precision::kF32}) {
    loaded = make(precision);
    if (loaded.ok()) {
      loaded->notes.push_back(ChoiceNote(precision, refused));
      break;
    }
    refused.push_back(Refusal(precision, loaded.status()));
  }
  return loaded;
}

}  // namespace vit
