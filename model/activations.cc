#include "model/activations.h"

#include <algorithm>
#include <type_traits>

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
          for (int x = 0; x < side; ++x) {
            *patch++ = Pixel<T>(from[x * channels]);
          }
        }
      }
    }
  }
}

template <typename Values>
constexpr bool kIsBytes = std::is_same_v<Values, AlignedVector<uint8_t>&>;

// Calls work(values), the vector that has memory.
template <typename Work>
void Visit(MatmulInput& input, const Work& work) {
  if (!input.bytes.empty()) return work(input.bytes);
  if (!input.bfloats.empty()) return work(input.bfloats);
  work(input.floats);
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
  void* data = nullptr;
  Visit(*this, [&](auto& values) { data = values.data(); });
  return data;
}

void MatmulInput::CopyPatches(const VitConfig& config, const uint8_t* pixels,
                              size_t first) {
  Visit(*this, [&](auto& values) { Copy(config, pixels, &values[first]); });
}

void MatmulInput::LayerNorm(const kernels::NormInput& in) {
  Visit(*this, [&](auto& values) { kernels::LayerNorm(in, values.data()); });
}

void MatmulInput::Attend(const kernels::AttentionInput& in, const ToByte& to,
                         size_t first, float* weights, float* scratch) {
  const size_t width = in.heads * in.head_width;
  Visit(*this, [&](auto& values) {
    if constexpr (kIsBytes<decltype(values)>) {
      kernels::SelfAttention(in, to.inverse_scale, to.zero_point,
                             &values[first], width, weights, scratch);
    } else {
      kernels::SelfAttention(in, &values[first], width, weights, scratch);
    }
  });
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
  Visit(*this, [&](auto& values) {
    if constexpr (kIsBytes<decltype(values)>) {
      kernels::AbsorbedAttention(in, by, to.inverse_scale, to.zero_point,
                                 &values[first], scratch);
    } else {
      kernels::AbsorbedAttention(in, by, &values[first], scratch);
    }
  });
}

void MatmulInput::Gelu(const float* x, size_t count, const ToByte& to) {
  Visit(*this, [&](auto& values) {
    if constexpr (kIsBytes<decltype(values)>) {
      kernels::Gelu(x, count, to.inverse_scale, to.zero_point, values.data());
    } else {
      kernels::Gelu(x, count, values.data());
    }
  });
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
