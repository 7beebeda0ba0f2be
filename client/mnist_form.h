#ifndef MNIST_VIT_CLIENT_MNIST_FORM_H_
#define MNIST_VIT_CLIENT_MNIST_FORM_H_

#include "absl/status/statusor.h"
#include "client/picture.h"

namespace vit::client {

// The side of an image in MNIST's form, pixels.
inline constexpr int kMnistSide = 28;

// Brings any picture of one digit to the form of MNIST's images (LeCun et al.
// 1998): 28 x 28 pixels, background 0, ink up to 255, the digit scaled with its
// aspect kept so that the longer side of its bounding box is 20 pixels, its
// centre of mass at the centre.
//
// The border is taken for background, so the digit may be lighter or darker
// than it but must leave most of the border free. Deviations from it that are
// as common in the border are taken for noise. A picture in MNIST's form
// already comes back unchanged, inverted if it is dark on light.
//
// InvalidArgument if the picture is empty or blank, that is, without contrast.
// Thread-safe.
absl::StatusOr<GreyPicture> ToMnistForm(const GreyPicture& picture);

}  // namespace vit::client

#endif  // MNIST_VIT_CLIENT_MNIST_FORM_H_
