#ifndef MNIST_VIT_CLIENT_ATTENTION_PICTURE_H_
#define MNIST_VIT_CLIENT_ATTENTION_PICTURE_H_

#include <span>
#include <string>

#include "client/picture.h"
#include "vit/v1/classifier.pb.h"

// Shows attention over the image that it belongs to. All functions are pure.
namespace vit::client {

// How much each patch of a grid is attended to.
struct PatchMap {
  int grid_height = 0;
  int grid_width = 0;
  // [grid_height][grid_width], not negative; only their proportions matter.
  std::span<const double> weights;
};

// The image enlarged `scale` times, at least 1, in grey, under a heat that goes
// smoothly from patch to patch: dark where nothing is attended to, then red,
// orange and pale yellow where most is.
RgbPicture AttentionOverlay(const GreyPicture& image, const PatchMap& map,
                            int scale);

// One small overlay for each layer (from top to bottom) and head (from left to
// right) of an answer that passed CheckExplanation, each with its own scale of
// heat.
RgbPicture AttentionGrid(const GreyPicture& image,
                         const v1::ExplainResponse& response);

// Two pictures of characters side by side: the image, one row of characters for
// two rows of pixels, and the heat, darkest to brightest " .:-=+*#%@".
std::string AttentionAscii(const GreyPicture& image, const PatchMap& map);

}  // namespace vit::client

#endif  // MNIST_VIT_CLIENT_ATTENTION_PICTURE_H_
