#include "client/commands.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/attention_picture.h"
#include "client/eval.h"
#include "client/eval_report.h"
#include "client/idx.h"
#include "client/input.h"
#include "client/png.h"

namespace vit::client {
namespace {

constexpr int kOverlayScale = 16;
constexpr int kProgressWidth = 40;  // characters
constexpr double kMillisecondsPerSecond = 1000;

int Fail(const absl::Status& status, std::ostream& err) {
  err << "vit-client: " << absl::StatusCodeToString(status.code()) << ": "
      << std::string(status.message()) << '\n';
  return kExitFailure;
}

std::string Classification(const v1::ClassifyResponse& response) {
  return absl::StrFormat("%d (%.2f %%)", response.label(),
                         100 * response.confidence());
}

std::string Details(const v1::ClassifyResponse& response,
                    absl::Duration round_trip) {
  std::string text = "  probabilities ";
  for (int i = 0; i < response.probabilities_size(); ++i) {
    absl::StrAppendFormat(&text, " %d: %.2f %%%s", i,
                          100 * response.probabilities(i),
                          i + 1 < response.probabilities_size() ? "," : "");
  }
  const v1::Timing& timing = response.timing();
  absl::StrAppendFormat(
      &text,
      "\n  time           round trip %.2f ms, of it the server %.2f ms: queue "
      "%.2f ms, inference %.2f ms in a batch of %d\n",
      absl::ToDoubleMilliseconds(round_trip),
      kMillisecondsPerSecond * timing.total_seconds(),
      kMillisecondsPerSecond * timing.queue_seconds(),
      kMillisecondsPerSecond * timing.inference_seconds(), timing.batch_size());
  return text;
}

// A bar that moves in whole percents, on one line.
void ShowProgress(int done, int total, std::ostream& err) {
  const int percent = static_cast<int>(int64_t{100} * done / total);
  const int before = static_cast<int>(int64_t{100} * (done - 1) / total);
  if (percent == before && done != 1) return;
  const int filled = percent * kProgressWidth / 100;
  err << absl::StrFormat("\r[%s%s] %3d %% of %d", std::string(filled, '#'),
                         std::string(kProgressWidth - filled, '.'), percent,
                         total)
      << (done == total ? "\n" : "") << std::flush;
}

absl::StatusOr<EvalResult> EvaluateFiles(ClassifierClient& client,
                                         const EvalCommand& command,
                                         std::ostream& err) {
  const absl::StatusOr<IdxImages> images = ReadIdxImages(command.images);
  if (!images.ok()) return images.status();
  const absl::StatusOr<std::vector<uint8_t>> labels =
      ReadIdxLabels(command.labels);
  if (!labels.ok()) return labels.status();
  EvalOptions options;
  options.concurrency = command.concurrency;
  options.limit = command.limit;
  if (command.progress) {
    options.progress = [&err](int done, int total) {
      ShowProgress(done, total, err);
    };
  }
  const auto classify = [&client](std::span<const uint8_t> image,
                                  ClassifierClient::ClassifyCallback done) {
    client.ClassifyAsync(image, std::move(done));
  };
  return Evaluate(classify, *images, *labels, options);
}

std::string MatrixName(const MatrixChoice& choice) {
  if (choice.layer == MatrixChoice::kAll) return "rollout over all layers";
  if (choice.head == MatrixChoice::kAll) {
    return absl::StrCat("layer ", choice.layer, ", mean of its heads");
  }
  return absl::StrCat("layer ", choice.layer, ", head ", choice.head);
}

absl::Status ShowExplanation(const ExplainCommand& command,
                             const GreyPicture& image,
                             const v1::ExplainResponse& response,
                             std::ostream& out) {
  if (absl::Status s = CheckExplanation(response); !s.ok()) return s;
  const absl::StatusOr<AttentionTokens> attention =
      SelectAttention(response, command.matrix);
  if (!attention.ok()) return attention.status();
  // A model without a class token shows every token instead.
  const bool all = command.tokens == "cls" && !response.has_class_token();
  const absl::StatusOr<std::vector<int>> tokens =
      ParseTokens(response, all ? "all" : command.tokens);
  if (!tokens.ok()) return tokens.status();
  const std::vector<double> weights = PatchWeights(response, *attention);
  const PatchMap map{response.grid_height(), response.grid_width(), weights};

  out << command.file << ": " << Classification(response.classification())
      << "\n\nThe image, and what the "
      << (response.has_class_token() ? "class token attends" : "tokens attend")
      << " to in it (" << MatrixName(command.matrix) << "):\n\n"
      << AttentionAscii(image, map) << '\n'
      << AttentionTable(response, *attention, *tokens, command.top);
  if (command.out.empty()) return absl::OkStatus();
  const RgbPicture picture = command.grid
                                 ? AttentionGrid(image, response)
                                 : AttentionOverlay(image, map, kOverlayScale);
  if (absl::Status s = WritePng(picture, command.out); !s.ok()) return s;
  out << "\nwrote " << command.out << '\n';
  return absl::OkStatus();
}

}  // namespace

int RunClassify(const ClientOptions& client, const ClassifyCommand& command,
                std::ostream& out, std::ostream& err) {
  const auto classifier = ClassifierClient::Create(client);
  if (!classifier.ok()) return Fail(classifier.status(), err);
  int code = kExitOk;
  for (const std::string& file : command.files) {
    const absl::StatusOr<GreyPicture> image = LoadImage(file, command.index);
    if (!image.ok()) {
      code = Fail(image.status(), err);
      continue;
    }
    const absl::Time start = absl::Now();
    const absl::StatusOr<v1::ClassifyResponse> response =
        (*classifier)->Classify(image->pixels);
    if (!response.ok()) {
      code = Fail(response.status(), err);
      continue;
    }
    out << file << ": " << Classification(*response) << '\n'
        << Details(*response, absl::Now() - start);
  }
  return code;
}

int RunEval(const ClientOptions& client, const EvalCommand& command,
            std::ostream& out, std::ostream& err) {
  const auto classifier = ClassifierClient::Create(client);
  if (!classifier.ok()) return Fail(classifier.status(), err);
  const absl::StatusOr<EvalResult> result =
      EvaluateFiles(**classifier, command, err);
  if (!result.ok()) return Fail(result.status(), err);
  out << (command.json ? EvalJson(*result) : EvalReport(*result));
  if (!command.predictions.empty()) {
    const absl::Status status = WritePredictions(*result, command.predictions);
    if (!status.ok()) return Fail(status, err);
  }
  return result->failed() == 0 ? kExitOk : Fail(result->first_error, err);
}

int RunExplain(const ClientOptions& client, const ExplainCommand& command,
               std::ostream& out, std::ostream& err) {
  const auto classifier = ClassifierClient::Create(client);
  if (!classifier.ok()) return Fail(classifier.status(), err);
  const absl::StatusOr<GreyPicture> image =
      LoadImage(command.file, command.index);
  if (!image.ok()) return Fail(image.status(), err);
  const absl::StatusOr<v1::ExplainResponse> response =
      (*classifier)->Explain(image->pixels);
  if (!response.ok()) return Fail(response.status(), err);
  const absl::Status status = ShowExplanation(command, *image, *response, out);
  return status.ok() ? kExitOk : Fail(status, err);
}

int RunHealth(const ClientOptions& client, std::ostream& out,
              std::ostream& err) {
  const auto classifier = ClassifierClient::Create(client);
  if (!classifier.ok()) return Fail(classifier.status(), err);
  const absl::StatusOr<Health> health = (*classifier)->CheckHealth();
  if (!health.ok()) return Fail(health.status(), err);
  switch (*health) {
    case Health::kServing:
      out << "SERVING\n";
      return kExitOk;
    case Health::kNotServing:
      out << "NOT_SERVING\n";
      return kExitFailure;
    case Health::kUnknown:
      break;
  }
  out << "UNKNOWN\n";
  return kExitFailure;
}

}  // namespace vit::client
