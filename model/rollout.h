#ifndef MNIST_VIT_MODEL_ROLLOUT_H_
#define MNIST_VIT_MODEL_ROLLOUT_H_

#include <vector>

#include "model/classifier.h"

namespace vit {

// Attention rollout (Abnar & Zuidema 2020, arXiv 2005.00928, section 3): how
// much of each input token reaches each output token through all layers.
//
//   A_l     = attention weights of layer l, averaged over its heads
//   A'_l    = A_l / 2 + I / 2, for the residual connection; rows sum to 1
//   rollout = A'_L ... A'_2 A'_1
//
// Returns tokens x tokens values, row-major; row i says of what output token i
// is made, and sums to 1. Row 0 is the class token's, where there is one.
std::vector<float> AttentionRollout(const Attention& attention);

}  // namespace vit

#endif  // MNIST_VIT_MODEL_ROLLOUT_H_
