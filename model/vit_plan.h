#ifndef MNIST_VIT_MODEL_VIT_PLAN_H_
#define MNIST_VIT_MODEL_VIT_PLAN_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <vector>

#include "model/activations.h"
#include "model/onednn_ops.h"
#include "model/packed_weights.h"
#include "model/vit_config.h"

namespace vit {

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
