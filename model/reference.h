#ifndef MNIST_VIT_MODEL_REFERENCE_H_
#define MNIST_VIT_MODEL_REFERENCE_H_

#include <cstddef>
#include <vector>

#include "model/classifier.h"
#include "model/weights.h"

// The vision transformer as the papers' formulas state it: straight loops in
// double precision, nothing fused, nothing reused. Slow, and meant to be read;
// the engine is tested against it. Functions are pure, so safe to call from
// several threads. Sizes must fit; they are not checked.
namespace vit::reference {

// rows x columns values, row-major. Of tokens, each row is one.
struct Matrix {
  Matrix(int row_count, int column_count)
      : rows(row_count),
        columns(column_count),
        values(static_cast<size_t>(row_count) * column_count) {}

  double& at(int row, int column) {
    return values[static_cast<size_t>(row) * columns + column];
  }
  double at(int row, int column) const {
    return values[static_cast<size_t>(row) * columns + column];
  }

  int rows;
  int columns;
  std::vector<double> values;
};

// Every row r of x becomes W r + b.
Matrix Linear(const Matrix& x, const LinearWeights& weights);

// Layer normalisation (Ba et al. 2016, arXiv 1607.06450): every row becomes
// (row - mean) / sqrt(variance + epsilon) * scale + shift.
Matrix LayerNorm(const Matrix& x, const NormWeights& weights, double epsilon);

// Gaussian error linear unit (Hendrycks & Gimpel 2016, arXiv 1606.08415), the
// exact form: x Phi(x) = x / 2 (1 + erf(x / sqrt(2))).
double Gelu(double x);

// exp(x_i) / sum_j exp(x_j) of every row.
Matrix Softmax(const Matrix& x);

struct SelfAttentionResult {
  Matrix output;                // tokens x width
  std::vector<Matrix> weights;  // one tokens x tokens matrix a head
};

// Multi-head self-attention (Vaswani et al. 2017, arXiv 1706.03762, section
// 3.2): with Q, K, V = x W_q, x W_k, x W_v, for each head
//
//   weights = softmax(Q K^T / sqrt(d_k)),  head = weights V
//
// and then the heads, side by side, through the output projection.
// x: tokens x width, as are the query, key and value parts of qkv's output.
SelfAttentionResult SelfAttention(const Matrix& x, const LinearWeights& qkv,
                                  const LinearWeights& proj, int heads);

struct ForwardResult {
  std::vector<double> logits;  // one a class
  Attention attention;
};

// The whole network for one image (Dosovitskiy et al. 2021, arXiv 2010.11929,
// equations 1 to 4).
ForwardResult Forward(const VitWeights& weights, const Image& image);

}  // namespace vit::reference

#endif  // MNIST_VIT_MODEL_REFERENCE_H_
