#ifndef MNIST_VIT_TESTS_CLIENT_EXPLANATION_H_
#define MNIST_VIT_TESTS_CLIENT_EXPLANATION_H_

#include <array>

#include "vit/v1/classifier.pb.h"

namespace vit::testing {

// An answer of Explain with a class token and 2 x 2 patches of 2 pixels, 2
// layers and 3 heads. In head h of layer l token i attends to token i + 3 l + h
// alone, the first following the last. Row i of the rollout is 0.5, 0, 0.25,
// 0.125, 0.125 from token i on.
inline v1::ExplainResponse SmallExplanation() {
  constexpr int kTokens = 5;
  v1::ExplainResponse response;
  response.mutable_classification()->set_label(3);
  response.mutable_classification()->set_confidence(0.75F);
  response.set_tokens(kTokens);
  response.set_has_class_token(true);
  response.set_grid_height(2);
  response.set_grid_width(2);
  response.set_patch_size(2);
  for (int l = 0; l < 2; ++l) {
    v1::LayerAttention* const layer = response.add_layers();
    for (int h = 0; h < 3; ++h) {
      v1::AttentionMatrix* const head = layer->add_heads();
      for (int i = 0; i < kTokens; ++i) {
        for (int j = 0; j < kTokens; ++j) {
          head->add_weights(j == (i + 3 * l + h) % kTokens ? 1 : 0);
        }
      }
    }
  }
  constexpr std::array<float, kTokens> kRollout = {0.5F, 0, 0.25F, 0.125F,
                                                   0.125F};
  for (int i = 0; i < kTokens; ++i) {
    for (int j = 0; j < kTokens; ++j) {
      response.mutable_rollout()->add_weights(
          kRollout[(j - i + kTokens) % kTokens]);
    }
  }
  return response;
}

}  // namespace vit::testing

#endif  // MNIST_VIT_TESTS_CLIENT_EXPLANATION_H_
