#ifndef MNIST_VIT_MODEL_VIT_PLAN_H_
#define MNIST_VIT_MODEL_VIT_PLAN_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "model/aligned.h"
#include "model/onednn_ops.h"
#include "model/packed_weights.h"
#include "model/vit_config.h"

namespace vit {

// One worker's activations, for up to a number of images. Shapes are
// [images][tokens][...], dense, row-major. What a matmul reads is in bytes if
// the model is int8, and then the f32 vector of it is empty, and the other way
// round; what it writes is f32.
struct Activations {
  Activations(const VitConfig& config, Precision precision, int images);

  // A matmul's input.
  struct Input {
    void Resize(Precision precision, size_t size);
    void* data();

    AlignedVector<float> floats;
    AlignedVector<uint8_t> bytes;
  };

  Input patches;                // pixels; those of a class token stay zero
  AlignedVector<float> stream;  // the residual stream, width
  Input normed;                 // width
  AlignedVector<float> qkv;     // 3 x width; for the class tokens' layer normed
  AlignedVector<uint8_t> qkv_bytes;  // of layers whose attention is in bytes
  Input context;                     // the heads' results side by side, width
  AlignedVector<float> hidden;       // before GELU, mlp_width
  Input activated;                   // GELU of it; in f32 it is done in place
  // One row an image: what the head reads, and the last layer's query.
  AlignedVector<float> pooled;  // [images][width]
  AlignedVector<float> query;   // [images][width]
  AlignedVector<float> logits;  // [images][classes]
  AlignedVector<float> attention_scratch;
  AlignedVector<uint8_t> matmul_scratch;
};

// A linear layer with all memory bound, and GELU behind it where the network
// has it. Fails as oneDNN does.
using LinearStep = std::function<absl::Status(const dnnl::stream&)>;

// The linear layers that one worker runs for one number of images.
class VitPlan {
 public:
  // Keeps pointers to `ops`, `weights` and `activations`.
  VitPlan(const VitConfig& config, Precision precision, int images,
          const VitOps& ops, const PackedWeights& weights,
          Activations& activations);

  VitPlan(const VitPlan&) = delete;
  VitPlan& operator=(const VitPlan&) = delete;

  struct Layer {
    LinearStep qkv;   // normed to qkv
    LinearStep proj;  // context, onto stream
    LinearStep fc1;   // normed to activated
    LinearStep fc2;   // activated, onto stream
  };
  // The last layer for the class token only.
  struct LastLayer {
    LinearStep query;  // the class tokens that are in qkv, to query
    LinearStep proj;   // context, onto pooled
    LinearStep fc1;    // normed to activated
    LinearStep fc2;    // activated, onto pooled
  };

  LinearStep embed;               // patches, onto stream
  std::vector<Layer> layers;      // every layer, for all tokens
  std::optional<LastLayer> last;  // where it makes a difference
  LinearStep head;                // pooled to logits

 private:
  const dnnl::memory* Bind(const onednn::MemoryDesc& desc, void* data);
  LinearStep OneDnn(const onednn::Op& op, const dnnl::memory* source,
                    const PackedLinear& by, const dnnl::memory* target,
                    Activations& activations);

  std::deque<dnnl::memory> memory_;  // in a deque: the steps keep pointers
};

// Bytes of scratch memory that the ops need, one at a time.
size_t ScratchpadBytes(const VitOps& ops);

}  // namespace vit

#endif  // MNIST_VIT_MODEL_VIT_PLAN_H_
