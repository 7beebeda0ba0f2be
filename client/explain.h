#ifndef MNIST_VIT_CLIENT_EXPLAIN_H_
#define MNIST_VIT_CLIENT_EXPLAIN_H_

#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "vit/v1/classifier.pb.h"

// Reads the answer of Explain: which token attends to which, as a table. All
// functions are pure.
namespace vit::client {

// One attention matrix of an ExplainResponse; row i says where token i attends
// to, and sums to 1.
struct AttentionTokens {
  int tokens = 0;
  std::vector<double> weights;  // [tokens][tokens]

  std::span<const double> row(int token) const {
    return std::span(weights).subspan(static_cast<size_t>(token) * tokens,
                                      tokens);
  }
};

// Which of an answer's matrices to look at.
struct MatrixChoice {
  static constexpr int kAll = -1;

  int layer = kAll;  // from 0; kAll: the rollout over all layers
  int head = kAll;   // from 0; kAll: the mean of the layer's heads
};

// Internal, saying what does not fit, if the sizes that an answer claims are
// not those of its matrices. The functions below expect an answer that passed.
absl::Status CheckExplanation(const v1::ExplainResponse& response);

// OutOfRange, naming how many there are, if there is no such layer or head;
// InvalidArgument for a head without a layer.
absl::StatusOr<AttentionTokens> SelectAttention(
    const v1::ExplainResponse& response, const MatrixChoice& choice);

// "[CLS]", or a patch's row and column in the grid, and the rows and columns of
// its pixels: "(2, 3) pixels 8-11, 12-15".
std::string TokenName(const v1::ExplainResponse& response, int token);

// Reads "cls", "all" or a token's index. InvalidArgument if it is none of them,
// or "cls" of a model without a class token; OutOfRange for an index that there
// is not.
absl::StatusOr<std::vector<int>> ParseTokens(
    const v1::ExplainResponse& response, const std::string& text);

// The table `Token | Attending to | Weight %`: for each of `tokens` those that
// it attends to, the largest weight first, at most `top` of them (0: all) and a
// line for the sum of the others.
std::string AttentionTable(const v1::ExplainResponse& response,
                           const AttentionTokens& attention,
                           std::span<const int> tokens, int top);

// What the class token attends to: one weight for each patch, in row-major
// order, the token's own weight left out and the others scaled to sum to 1.
// Without a class token the mean over all tokens.
std::vector<double> PatchWeights(const v1::ExplainResponse& response,
                                 const AttentionTokens& attention);

}  // namespace vit::client

#endif  // MNIST_VIT_CLIENT_EXPLAIN_H_
