#ifndef MNIST_VIT_MODEL_ACTIVATIONS_H_
#define MNIST_VIT_MODEL_ACTIVATIONS_H_

#include <cstdint>

#include "model/aligned.h"
#include "model/engine.h"
#include "model/kernels.h"
#include "model/packed_weights.h"
#include "model/vit_config.h"

namespace vit {

// A matmul's input, in what the model's matmuls multiply, and the kernels that
// write it. Only the vector of that type has memory.
struct MatmulInput {
  void Resize(Precision precision, size_t size);
  void* data();

  // The patches of an image, from the value at `first` on: pixels, in the order
  // [patch][channel][row][column].
  void CopyPatches(const VitConfig& config, const uint8_t* pixels,
                   size_t first);

  // Each of these writes its kernel's result from the value at `first` on, or
  // from the start; in bytes as `to` says.
  void LayerNorm(const kernels::NormInput& in);  // `to` is part of the gain
  void Attend(const kernels::AttentionInput& in, const ToByte& to, size_t first,
              float* weights, float* scratch);
  // Its result is in bytes only.
  void Attend(const kernels::ByteAttentionInput& in, const ToByte& to,
              size_t first, float* weights, float* scratch);
  void AttendAbsorbed(const kernels::AbsorbedInput& in,
                      const kernels::AbsorbedWeights& by, const ToByte& to,
                      size_t first, float* scratch);
  void Gelu(const float* x, size_t count, const ToByte& to);

  AlignedVector<float> floats;
  AlignedVector<kernels::BFloat16> bfloats;
  AlignedVector<uint8_t> bytes;
};

// One worker's activations, for up to a number of images. Shapes are
// [images][tokens][...], dense, row-major. What a matmul writes is f32.
struct Activations {
  Activations(const VitConfig& config, Precision precision, int images);

  MatmulInput patches;          // pixels; those of a class token stay zero
  AlignedVector<float> stream;  // the residual stream, width
  MatmulInput normed;           // width
  AlignedVector<float> qkv;     // 3 x width; for the class tokens' layer normed
  AlignedVector<uint8_t> qkv_bytes;  // of layers whose attention is in bytes
  MatmulInput context;               // the heads' results side by side, width
  AlignedVector<float> hidden;       // before GELU, mlp_width
  MatmulInput activated;             // GELU of it; in f32 it is done in place
  // One row an image: what the head reads, and the last layer's query.
  AlignedVector<float> pooled;  // [images][width]
  AlignedVector<float> query;   // [images][width]
  AlignedVector<float> logits;  // [images][classes]
  AlignedVector<float> attention_scratch;
  AlignedVector<uint8_t> matmul_scratch;
};

}  // namespace vit

#endif  // MNIST_VIT_MODEL_ACTIVATIONS_H_
