#ifndef MNIST_VIT_MODEL_PACKED_WEIGHTS_H_
#define MNIST_VIT_MODEL_PACKED_WEIGHTS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "model/aligned.h"
#include "model/engine.h"
#include "model/kernels.h"
#include "model/onednn_ops.h"
#include "model/weights.h"

namespace vit {

// Who computes the linear layers of the encoder and the embedding.
enum class Provider {
  kOneDnn,
  // Our own kernels, which for matrices as small as ours are quicker.
  kOwn,
};

Provider ProviderFor(const EngineOptions& options);

// What the matmuls' inputs are in.
onednn::DataType SourceType(Precision precision);

// Weights for our own kernels.
template <typename Weight>
struct OwnLinear {
  AlignedVector<Weight> weight;
  AlignedVector<float> scale;
  AlignedVector<float> bias;
  kernels::OrderedLinear<Weight> view;  // of all these
};

// A linear layer's weights, as whoever computes it takes them. In f32 as they
// are; in bf16 rounded; in int8 (Jacob et al. 2018, arXiv 1712.05877) each
// output's weights are rounded to -127..127 with a scale of their own, and the
// input's scale and zero point are folded into `scales` and `bias`.
struct PackedLinear {
  dnnl::memory weight;
  dnnl::memory scales;  // in int8 only
  dnnl::memory bias;    // empty without a bias
  // Instead of these, if our own kernels compute it, one of:
  std::optional<OwnLinear<float>> floats;
  std::optional<OwnLinear<kernels::BFloat16>> bfloats;
  std::optional<OwnLinear<int8_t>> bytes;
};

// Layer normalisation; with a quantised result in units of it.
struct PackedNorm {
  AlignedVector<float> gain;
  AlignedVector<float> shift;
};

// How an activation becomes a byte: value * inverse_scale + zero_point.
struct ToByte {
  float inverse_scale = 1;
  float zero_point = 0;
};

// The last layer's attention where only the class token's is read, in f32 for
// every precision: no matrix product is left that bytes would hasten.
struct PackedClassAttention {
  PackedNorm norm;
  PackedLinear query;
  AlignedVector<float> key;
  AlignedVector<float> value;
  AlignedVector<float> bias;
  kernels::AbsorbedWeights absorbed;  // of these three
};

// What the bytes of queries, keys and values mean to kernels::SelfAttention.
struct ByteAttention {
  float score_step = 0;
  float value_step = 0;
};

struct PackedBlock {
  PackedNorm norm1;
  PackedLinear qkv;
  // If there, `qkv` gives bytes, and so does what is packed of it for the last
  // layer.
  std::optional<ByteAttention> attention;
  ToByte context;
  PackedLinear proj;
  PackedNorm norm2;
  PackedLinear fc1;
  ToByte hidden;
  PackedLinear fc2;
};

// The ops of one number of images. Those of the encoder's layers work on all
// tokens' rows; where only the class token of the last layer is read, that
// layer has ops of its own, for one row an image.
//
// Where our own kernels compute, there is an op for the head only.
struct VitOps {
  // Weights are ordered as in `like`, if it is not null, so that ops of all
  // sizes share one copy. Throws as oneDNN does.
  VitOps(const VitConfig& config, Precision precision, Provider provider,
         int images, const VitOps* like);

  // Those that there are.
  std::vector<const onednn::Op*> all() const;

  onednn::Op embed, qkv, proj, fc1, fc2;
  onednn::Op last_query, last_proj, last_fc1, last_fc2;
  onednn::Op head;  // in f32 always: it is small, and its result is the answer
};

// Whether the head reads nothing of the last layer but the class token.
bool ReadsClassTokenOnly(const VitConfig& config);

// A model's weights, ready for the ops that they were packed for. Immutable.
struct PackedWeights {
  // Throws as oneDNN does.
  PackedWeights(const VitWeights& weights, Precision precision,
                Provider provider, const VitOps& ops);

  PackedLinear embed;  // takes pixels as they are: 0 to 255
  // What the tokens start as, [tokens][width]: the position embeddings with,
  // for the class token its embedding, and for the patches what the embedding
  // adds whatever the pixels.
  std::vector<float> start;
  std::vector<PackedBlock> blocks;
  std::optional<PackedClassAttention> last;  // if ReadsClassTokenOnly
  PackedNorm head_norm;
  PackedLinear head;
};

}  // namespace vit

#endif  // MNIST_VIT_MODEL_PACKED_WEIGHTS_H_
