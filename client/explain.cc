#include "client/explain.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace vit::client {
namespace {

// Where the patches begin among the tokens.
int FirstPatch(const v1::ExplainResponse& response) {
  return response.has_class_token() ? 1 : 0;
}

absl::Status CheckMatrix(const v1::AttentionMatrix& matrix, int tokens,
                         const std::string& name) {
  const int64_t expected = int64_t{tokens} * tokens;
  if (matrix.weights_size() == expected) return absl::OkStatus();
  return absl::InternalError(
      absl::StrFormat("the server's answer does not fit together: %s has %d "
                      "weights, expected %d for %d tokens",
                      name, matrix.weights_size(), expected, tokens));
}

void AddMatrix(const v1::AttentionMatrix& matrix, double factor,
               std::vector<double>& sum) {
  for (size_t i = 0; i < sum.size(); ++i) {
    sum[i] += factor * matrix.weights(static_cast<int>(i));
  }
}

std::string TableRow(const std::string& token, const std::string& attending_to,
                     double weight) {
  return absl::StrFormat("%-28s | %-28s | %8.2f\n", token, attending_to,
                         100 * weight);
}

}  // namespace

absl::Status CheckExplanation(const v1::ExplainResponse& response) {
  const int64_t patches =
      int64_t{response.grid_height()} * response.grid_width();
  if (response.grid_height() < 1 || response.grid_width() < 1 ||
      response.patch_size() < 1 ||
      response.tokens() != patches + FirstPatch(response)) {
    return absl::InternalError(absl::StrFormat(
        "the server's answer does not fit together: %d tokens for %d x %d "
        "patches of %d pixels, %s class token",
        response.tokens(), response.grid_height(), response.grid_width(),
        response.patch_size(), response.has_class_token() ? "a" : "no"));
  }
  absl::Status status =
      CheckMatrix(response.rollout(), response.tokens(), "the rollout");
  for (int l = 0; l < response.layers_size(); ++l) {
    const v1::LayerAttention& layer = response.layers(l);
    for (int h = 0; h < layer.heads_size(); ++h) {
      status.Update(CheckMatrix(layer.heads(h), response.tokens(),
                                absl::StrCat("layer ", l, ", head ", h)));
    }
  }
  return status;
}

absl::StatusOr<AttentionTokens> SelectAttention(
    const v1::ExplainResponse& response, const MatrixChoice& choice) {
  const int tokens = response.tokens();
  AttentionTokens attention{
      tokens, std::vector<double>(static_cast<size_t>(tokens) * tokens)};
  if (choice.layer == MatrixChoice::kAll) {
    if (choice.head != MatrixChoice::kAll) {
      return absl::InvalidArgumentError("a head without a layer");
    }
    AddMatrix(response.rollout(), 1, attention.weights);
    return attention;
  }
  if (choice.layer < 0 || choice.layer >= response.layers_size()) {
    return absl::OutOfRangeError(
        absl::StrCat("layer ", choice.layer, ": the model has ",
                     response.layers_size(), " layers, from 0"));
  }
  const v1::LayerAttention& layer = response.layers(choice.layer);
  if (choice.head == MatrixChoice::kAll) {
    for (const v1::AttentionMatrix& head : layer.heads()) {
      AddMatrix(head, 1.0 / layer.heads_size(), attention.weights);
    }
    return attention;
  }
  if (choice.head < 0 || choice.head >= layer.heads_size()) {
    return absl::OutOfRangeError(
        absl::StrCat("head ", choice.head, ": the layer has ",
                     layer.heads_size(), " heads, from 0"));
  }
  AddMatrix(layer.heads(choice.head), 1, attention.weights);
  return attention;
}

std::string TokenName(const v1::ExplainResponse& response, int token) {
  const int patch = token - FirstPatch(response);
  if (patch < 0) return "[CLS]";
  const int size = response.patch_size();
  const int row = patch / response.grid_width();
  const int column = patch % response.grid_width();
  return absl::StrFormat("(%d, %d) pixels %d-%d, %d-%d", row, column,
                         row * size, (row + 1) * size - 1, column * size,
                         (column + 1) * size - 1);
}

absl::StatusOr<std::vector<int>> ParseTokens(
    const v1::ExplainResponse& response, const std::string& text) {
  if (text == "all") {
    std::vector<int> all(response.tokens());
    std::iota(all.begin(), all.end(), 0);
    return all;
  }
  if (text == "cls") {
    if (response.has_class_token()) return std::vector<int>{0};
    return absl::InvalidArgumentError("the model has no class token");
  }
  int index = 0;
  if (!absl::SimpleAtoi(text, &index)) {
    return absl::InvalidArgumentError(
        absl::StrCat("token '", text, "', expected cls, all or an index"));
  }
  if (index < 0 || index >= response.tokens()) {
    return absl::OutOfRangeError(absl::StrCat(
        "token ", index, ": there are ", response.tokens(), " tokens, from 0"));
  }
  return std::vector<int>{index};
}

std::string AttentionTable(const v1::ExplainResponse& response,
                           const AttentionTokens& attention,
                           std::span<const int> tokens, int top) {
  std::string table = absl::StrFormat("%-28s | %-28s | %8s\n", "Token",
                                      "Attending to", "Weight %");
  absl::StrAppend(&table, std::string(29, '-'), "|", std::string(30, '-'), "|",
                  std::string(9, '-'), "\n");
  for (const int token : tokens) {
    const std::span<const double> row = attention.row(token);
    std::vector<int> order(row.size());
    std::iota(order.begin(), order.end(), 0);
    // Equal weights in the tokens' order.
    std::sort(order.begin(), order.end(), [row](int a, int b) {
      return row[a] > row[b] || (row[a] == row[b] && a < b);
    });
    const size_t shown = top > 0
                             ? std::min(order.size(), static_cast<size_t>(top))
                             : order.size();
    const std::string name = TokenName(response, token);
    for (size_t i = 0; i < shown; ++i) {
      table += TableRow(name, TokenName(response, order[i]), row[order[i]]);
    }
    double others = 0;
    for (size_t i = shown; i < order.size(); ++i) others += row[order[i]];
    if (shown < order.size()) {
      table +=
          TableRow(name, absl::StrCat(order.size() - shown, " others"), others);
    }
  }
  return table;
}

std::vector<double> PatchWeights(const v1::ExplainResponse& response,
                                 const AttentionTokens& attention) {
  const int first = FirstPatch(response);
  std::vector<double> patches(attention.tokens - first);
  const int rows = response.has_class_token() ? 1 : attention.tokens;
  for (int token = 0; token < rows; ++token) {
    const std::span<const double> row = attention.row(token);
    for (size_t i = 0; i < patches.size(); ++i) patches[i] += row[first + i];
  }
  const double sum = std::accumulate(patches.begin(), patches.end(), 0.0);
  // A class token that attends to nothing but itself leaves nothing to scale.
  if (sum > 0) {
    for (double& weight : patches) weight /= sum;
  }
  return patches;
}

}  // namespace vit::client
