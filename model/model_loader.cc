#include "model/model_loader.h"

#include <span>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/self_check.h"
#include "model/side_by_side.h"
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

absl::StatusOr<std::unique_ptr<Classifier>> WarmClassifier(
    const VitModel& model) {
  absl::StatusOr<std::unique_ptr<Classifier>> classifier =
      model.NewClassifier();
  if (!classifier.ok()) return classifier;
  const absl::Status status = WarmUp(**classifier, model.images_at_once());
  if (!status.ok()) return status;
  return classifier;
}

// Makes warm classifiers in the empty places, side by side: each computes on
// one core, and start-up waits for all of them.
absl::Status FillSideBySide(const VitModel& model,
                            std::span<std::unique_ptr<Classifier>> places) {
  return RunSideBySide(
      static_cast<int>(places.size()), [&model, places](int i) {
        absl::StatusOr<std::unique_ptr<Classifier>> classifier =
            WarmClassifier(model);
        if (!classifier.ok()) return classifier.status();
        places[i] = *std::move(classifier);
        return absl::OkStatus();
      });
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
  // The first is checked before the others begin, so that a model that fails
  // the check costs no more than it must.
  auto first = WarmClassifier(*loaded.model);
  if (!first.ok()) return first.status();
  if (golden.has_value()) {
    const absl::Status status =
        CheckGolden(**first, *golden, GoldenTolerance(precision));
    if (!status.ok()) return status;
  }
  loaded.classifiers.resize(workers);
  loaded.classifiers[0] = *std::move(first);
  const absl::Status status =
      FillSideBySide(*loaded.model, std::span(loaded.classifiers).subspan(1));
  if (!status.ok()) return status;
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
