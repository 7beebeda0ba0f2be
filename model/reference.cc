#include "model/reference.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace vit::reference {
namespace {

// x += y
void Add(const Matrix& y, Matrix& x) {
  for (size_t i = 0; i < x.values.size(); ++i) x.values[i] += y.values[i];
}

// Columns [first, first + count) of x.
Matrix Columns(const Matrix& x, int first, int count) {
  Matrix part(x.rows, count);
  for (int i = 0; i < x.rows; ++i) {
    for (int j = 0; j < count; ++j) part.at(i, j) = x.at(i, first + j);
  }
  return part;
}

// The image's patches in reading order, each a row of its normalised values in
// the order [channel][row][column] of a convolution's weights.
Matrix Patches(const VitWeights& weights, const Image& image) {
  const VitConfig& c = weights.config;
  const int side = c.patch_size;
  const int across = c.image.width / side;
  Matrix patches(c.patches(), c.patch_values());
  for (int y = 0; y < c.image.height; ++y) {
    for (int x = 0; x < c.image.width; ++x) {
      for (int k = 0; k < c.image.channels; ++k) {
        const size_t at =
            (static_cast<size_t>(y) * c.image.width + x) * c.image.channels + k;
        const double pixel = image.pixels[at] / 255.0;
        patches.at(y / side * across + x / side,
                   (k * side + y % side) * side + x % side) =
            (pixel - weights.normalization.mean[k]) /
            weights.normalization.std[k];
      }
    }
  }
  return patches;
}

// Equation 1: z_0 = [class token; patches E] + E_pos.
Matrix Embed(const VitWeights& weights, const Image& image) {
  const VitConfig& c = weights.config;
  const Matrix embedded = Linear(Patches(weights, image), weights.patch_embed);
  const int first = c.class_token ? 1 : 0;
  Matrix z(c.tokens(), c.width);
  for (int t = 0; t < c.tokens(); ++t) {
    for (int j = 0; j < c.width; ++j) {
      z.at(t, j) =
          (t < first ? weights.class_token[j] : embedded.at(t - first, j)) +
          weights.position_embedding[static_cast<size_t>(t) * c.width + j];
    }
  }
  return z;
}

// Equation 3's MLP: two layers with a GELU between them.
Matrix Mlp(const Matrix& x, const BlockWeights& block) {
  Matrix hidden = Linear(x, block.fc1);
  for (double& value : hidden.values) value = Gelu(value);
  return Linear(hidden, block.fc2);
}

// The class token's row, or the mean of the patches' rows.
Matrix Pooled(const Matrix& z, const VitConfig& config) {
  if (config.pool == Pool::kToken) {
    Matrix row(1, z.columns);
    for (int j = 0; j < z.columns; ++j) row.at(0, j) = z.at(0, j);
    return row;
  }
  const int first = config.class_token ? 1 : 0;
  Matrix mean(1, z.columns);
  for (int t = first; t < z.rows; ++t) {
    for (int j = 0; j < z.columns; ++j) {
      mean.at(0, j) += z.at(t, j) / (z.rows - first);
    }
  }
  return mean;
}

}  // namespace

Matrix Linear(const Matrix& x, const LinearWeights& weights) {
  const int outputs = static_cast<int>(weights.weight.size()) / x.columns;
  Matrix y(x.rows, outputs);
  for (int i = 0; i < x.rows; ++i) {
    for (int o = 0; o < outputs; ++o) {
      double sum = weights.bias.empty() ? 0.0 : weights.bias[o];
      for (int k = 0; k < x.columns; ++k) {
        sum +=
            x.at(i, k) * weights.weight[static_cast<size_t>(o) * x.columns + k];
      }
      y.at(i, o) = sum;
    }
  }
  return y;
}

Matrix LayerNorm(const Matrix& x, const NormWeights& weights, double epsilon) {
  Matrix y(x.rows, x.columns);
  for (int i = 0; i < x.rows; ++i) {
    double mean = 0;
    for (int j = 0; j < x.columns; ++j) mean += x.at(i, j) / x.columns;
    double variance = 0;
    for (int j = 0; j < x.columns; ++j) {
      variance += (x.at(i, j) - mean) * (x.at(i, j) - mean) / x.columns;
    }
    for (int j = 0; j < x.columns; ++j) {
      y.at(i, j) = (x.at(i, j) - mean) / std::sqrt(variance + epsilon) *
                       weights.scale[j] +
                   weights.shift[j];
    }
  }
  return y;
}

double Gelu(double x) {
  return 0.5 * x * (1.0 + std::erf(x / std::numbers::sqrt2));
}

Matrix Softmax(const Matrix& x) {
  Matrix y(x.rows, x.columns);
  for (int i = 0; i < x.rows; ++i) {
    // The same for any number subtracted; the largest keeps exp() in range.
    double largest = x.at(i, 0);
    for (int j = 1; j < x.columns; ++j) {
      largest = std::max(largest, x.at(i, j));
    }
    double sum = 0;
    for (int j = 0; j < x.columns; ++j) {
      sum += std::exp(x.at(i, j) - largest);
    }
    for (int j = 0; j < x.columns; ++j) {
      y.at(i, j) = std::exp(x.at(i, j) - largest) / sum;
    }
  }
  return y;
}

SelfAttentionResult SelfAttention(const Matrix& x, const LinearWeights& qkv,
                                  const LinearWeights& proj, int heads) {
  const int tokens = x.rows;
  const int width = x.columns;
  const int d_k = width / heads;
  const Matrix projected = Linear(x, qkv);
  SelfAttentionResult result{Matrix(tokens, width), {}};
  Matrix concatenated(tokens, width);
  for (int h = 0; h < heads; ++h) {
    const Matrix q = Columns(projected, h * d_k, d_k);
    const Matrix k = Columns(projected, width + h * d_k, d_k);
    const Matrix v = Columns(projected, 2 * width + h * d_k, d_k);

    // Q K^T / sqrt(d_k): how well token i's query fits token j's key.
    Matrix scores(tokens, tokens);
    for (int i = 0; i < tokens; ++i) {
      for (int j = 0; j < tokens; ++j) {
        for (int d = 0; d < d_k; ++d)
          scores.at(i, j) += q.at(i, d) * k.at(j, d);
        scores.at(i, j) /= std::sqrt(d_k);
      }
    }
    Matrix weights = Softmax(scores);

    // Token i takes from every token's value by its weight.
    for (int i = 0; i < tokens; ++i) {
      for (int j = 0; j < tokens; ++j) {
        for (int d = 0; d < d_k; ++d) {
          concatenated.at(i, h * d_k + d) += weights.at(i, j) * v.at(j, d);
        }
      }
    }
    result.weights.push_back(std::move(weights));
  }
  result.output = Linear(concatenated, proj);
  return result;
}

ForwardResult Forward(const VitWeights& weights, const Image& image) {
  const VitConfig& c = weights.config;
  ForwardResult result;
  result.attention = {c.depth, c.heads, c.tokens(), {}};
  Matrix z = Embed(weights, image);
  for (const BlockWeights& block : weights.blocks) {
    // Equation 2: z' = MSA(LN(z)) + z.
    const SelfAttentionResult attention =
        SelfAttention(LayerNorm(z, block.norm1, c.layer_norm_epsilon),
                      block.qkv, block.proj, c.heads);
    Add(attention.output, z);
    for (const Matrix& head : attention.weights) {
      for (const double weight : head.values) {
        result.attention.weights.push_back(static_cast<float>(weight));
      }
    }
    // Equation 3: z = MLP(LN(z')) + z'.
    Add(Mlp(LayerNorm(z, block.norm2, c.layer_norm_epsilon), block), z);
  }
  // Equation 4: y = LN(pooled z), and the classifier on it.
  const Matrix y = LayerNorm(Pooled(z, c), weights.norm, c.layer_norm_epsilon);
  result.logits = Linear(y, weights.head).values;
  return result;
}

}  // namespace vit::reference
