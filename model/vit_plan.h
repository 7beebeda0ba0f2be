#ifndef MNIST_VIT_MODEL_VIT_PLAN_H_
#define MNIST_VIT_MODEL_VIT_PLAN_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

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

    std::vector<float> floats;
    std::vector<uint8_t> bytes;
  };

  Input patches;              // pixels; those of a class token stay zero
  std::vector<float> stream;  // the residual stream, width
  Input normed;               // width
  std::vector<float> qkv;     // 3 x width, or in the last layer 2 x width
  Input context;              // the heads' results side by side, width
  std::vector<float> hidden;  // mlp_width
  Input activated;            // GELU of it; in f32 it is done in place
  // One row an image: what the head reads, and the last layer's query.
  std::vector<float> pooled;  // [images][width]
  std::vector<float> query;   // [images][width]
  std::vector<float> logits;  // [images][classes]
  std::vector<float> attention_scratch;
  std::vector<uint8_t> matmul_scratch;
};

// The matmuls that one worker runs for one number of images, with all memory
// bound.
class VitPlan {
 public:
  // Keeps pointers to `ops`, `weights` and `activations`.
  VitPlan(const VitConfig& config, Precision precision, int images,
          const VitOps& ops, const PackedWeights& weights,
          Activations& activations);

  VitPlan(const VitPlan&) = delete;
  VitPlan& operator=(const VitPlan&) = delete;

  struct Layer {
    onednn::Step qkv;   // normed to qkv
    onednn::Step proj;  // context, onto stream
    onednn::Step fc1;   // normed to hidden
    onednn::Step fc2;   // activated, onto stream
  };
  // The last layer for the class token only.
  struct LastLayer {
    onednn::Step key_value;  // normed to qkv
    onednn::Step query;      // normed's class tokens to query
    onednn::Step proj;       // context, onto pooled
    onednn::Step fc1;        // normed to hidden
    onednn::Step fc2;        // activated, onto pooled
  };

  std::optional<onednn::Step> embed;  // patches, onto stream
  std::vector<Layer> layers;          // every layer, for all tokens
  std::optional<LastLayer> last;      // where it makes a difference
  std::optional<onednn::Step> head;   // pooled to logits

 private:
  const dnnl::memory* Bind(const onednn::MemoryDesc& desc, void* data);
  onednn::Step Linear(const onednn::Op& op, const dnnl::memory* source,
                      const PackedLinear& by, const dnnl::memory* target,
                      Activations& activations);

  std::deque<dnnl::memory> memory_;  // in a deque: the steps keep pointers
};

// Bytes of scratch memory that the ops need, one at a time.
size_t ScratchpadBytes(const VitOps& ops);

}  // namespace vit

#endif  // MNIST_VIT_MODEL_VIT_PLAN_H_
