#include "model/rollout.h"

#include <cstddef>
#include <span>

namespace vit {
namespace {

// A'_l of the header, in double: a product over many layers follows.
std::vector<double> LayerWithResidual(const Attention& attention, int layer) {
  const size_t tokens = attention.tokens;
  std::vector<double> mixed(tokens * tokens);
  for (int head = 0; head < attention.heads; ++head) {
    const std::span<const float> weights = attention.matrix(layer, head);
    for (size_t i = 0; i < mixed.size(); ++i) mixed[i] += weights[i];
  }
  for (size_t i = 0; i < tokens; ++i) {
    const std::span<double> row = std::span(mixed).subspan(i * tokens, tokens);
    double sum = 0;
    for (size_t j = 0; j < tokens; ++j) {
      row[j] = 0.5 * row[j] / attention.heads + (i == j ? 0.5 : 0.0);
      sum += row[j];
    }
    for (double& weight : row) weight /= sum;
  }
  return mixed;
}

std::vector<double> Multiply(const std::vector<double>& a,
                             const std::vector<double>& b, size_t size) {
  std::vector<double> product(size * size);
  for (size_t i = 0; i < size; ++i) {
    for (size_t k = 0; k < size; ++k) {
      for (size_t j = 0; j < size; ++j) {
        product[i * size + j] += a[i * size + k] * b[k * size + j];
      }
    }
  }
  return product;
}

}  // namespace

std::vector<float> AttentionRollout(const Attention& attention) {
  if (attention.layers == 0) return {};
  std::vector<double> rollout = LayerWithResidual(attention, 0);
  for (int layer = 1; layer < attention.layers; ++layer) {
    rollout = Multiply(LayerWithResidual(attention, layer), rollout,
                       static_cast<size_t>(attention.tokens));
  }
  return {rollout.begin(), rollout.end()};
}

}  // namespace vit
