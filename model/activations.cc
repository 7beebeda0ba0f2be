#include "model/activations.h"

#include <algorithm>

namespace vit {
namespace {

using kernels::BFloat16;

template <typename T>
T Pixel(uint8_t value) {
  return static_cast<T>(value);
}
// 8 digits are enough for it.
template <>
BFloat16 Pixel(uint8_t value) {
  return kernels::ToBFloat16(value);
}

template <typename T>
void Copy(const VitConfig& config, const uint8_t* pixels, T* patch) {
  const int side = config.patch_size;
  const int channels = config.image.channels;
  const int row = config.image.width * channels;
  for (int top = 0; top < config.image.height; top += side) {
    for (int left = 0; left < config.image.width; left += side) {
      const uint8_t* corner = pixels + top * row + left * channels;
      for (int k = 0; k < channels; ++k) {
        for (int y = 0; y < side; ++y) {
          const uint8_t* from = corner + y * row + k;
          for (int x = 0; x < side; ++x)
            *patch++ = Pixel<T>(from[x * channels]);
        }
      }
    }
  }
}

}  // namespace

void MatmulInput::Resize(Precision precision, size_t size) {
  // Kernels read whole steps of a row: behind the last one, too.
  switch (precision) {
    case Precision::kF32:
      return floats.resize(size);
    case Precision::kBf16:
      return bfloats.resize(size + kernels::kBFloatStep);
    case Precision::kInt8:
      return bytes.resize(size + kernels::kByteStep);
  }
}

void* MatmulInput::data() {
  if (!bytes.empty()) return bytes.data();
  if (!bfloats.empty()) return bfloats.data();
  return floats.data();
}

void MatmulInput::CopyPatches(const VitConfig& config, const uint8_t* pixels,
                              size_t first) {
  if (!bytes.empty()) return Copy(config, pixels, &bytes[first]);
  if (!bfloats.empty()) return Copy(config, pixels, &bfloats[first]);
  Copy(config, pixels, &floats[first]);
}

void MatmulInput::LayerNorm(const kernels::NormInput& in) {
  if (!bytes.empty()) return kernels::LayerNorm(in, bytes.data());
  if (!bfloats.empty()) return kernels::LayerNorm(in, bfloats.data());
  kernels::LayerNorm(in, floats.data());
}

void MatmulInput::Attend(const kernels::AttentionInput& in, const ToByte& to,
                         size_t first, float* weights, float* scratch) {
  const size_t width = in.heads * in.head_width;
  if (!bytes.empty()) {
    kernels::SelfAttention(in, to.inverse_scale, to.zero_point, &bytes[first],
                           width, weights, scratch);
  } else if (!bfloats.empty()) {
    kernels::SelfAttention(in, &bfloats[first], width, weights, scratch);
  } else {
    kernels::SelfAttention(in, &floats[first], width, weights, scratch);
  }
}

void MatmulInput::Attend(const kernels::ByteAttentionInput& in,
                         const ToByte& to, size_t first, float* weights,
                         float* scratch) {
  kernels::SelfAttention(in, to.inverse_scale, to.zero_point, &bytes[first],
                         in.heads * in.head_width, weights, scratch);
}

void MatmulInput::AttendAbsorbed(const kernels::AbsorbedInput& in,
                                 const kernels::AbsorbedWeights& by,
                                 const ToByte& to, size_t first,
                                 float* scratch) {
  if (!bytes.empty()) {
    kernels::AbsorbedAttention(in, by, to.inverse_scale, to.zero_point,
                               &bytes[first], scratch);
  } else if (!bfloats.empty()) {
    kernels::AbsorbedAttention(in, by, &bfloats[first], scratch);
  } else {
    kernels::AbsorbedAttention(in, by, &floats[first], scratch);
  }
}

void MatmulInput::Gelu(const float* x, size_t count, const ToByte& to) {
  if (!bytes.empty()) {
    kernels::Gelu(x, count, to.inverse_scale, to.zero_point, bytes.data());
  } else if (!bfloats.empty()) {
    kernels::Gelu(x, count, bfloats.data());
  } else {
    kernels::Gelu(x, count, floats.data());
  }
}

Activations::Activations(const VitConfig& c, Precision precision, int images) {
  const auto count = static_cast<size_t>(images);
  const size_t rows = count * c.tokens();
  patches.Resize(precision, rows * c.patch_values());
  stream.resize(rows * c.width);
  normed.Resize(precision, rows * c.width);
  // AbsorbedAttention reads behind what is normalised there.
  qkv.resize(rows * 3 * c.width + kernels::kAbsorbedStep);
  context.Resize(precision, rows * c.width);
  hidden.resize(rows * c.mlp_width);
  if (precision != Precision::kF32) activated.Resize(precision, hidden.size());
  if (precision == Precision::kInt8) qkv_bytes.resize(rows * 3 * c.width);
  pooled.resize(count * c.width);
  query.resize(count * c.width);
  logits.resize(count * c.classes);
  attention_scratch.resize(
      std::max(kernels::AttentionScratch(c.tokens(), c.head_width()),
               kernels::AbsorbedScratch(c.tokens(), c.width)));
}

}  // namespace vit
