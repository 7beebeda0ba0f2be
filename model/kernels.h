#ifndef MNIST_VIT_MODEL_KERNELS_H_
#define MNIST_VIT_MODEL_KERNELS_H_

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

// What lies between the matrix products of an encoder layer: self-attention,
// layer normalisation and GELU, in SIMD with the instruction set picked at run
// time. For networks of short token sequences these take longer than the
// products when each is a primitive of its own.
//
// Pure functions on memory that the caller owns: thread-safe, no allocation, no
// error. Sizes must fit; they are not checked. Matrices are row-major; a stride
// is the distance of two rows, in elements. Results of type uint8_t are
// quantised: rounded to the nearest and clamped to 0..255, scale and zero point
// being the caller's (see each function); before that they must be below 2^31.
// Results of type BFloat16 are rounded to the nearest.
namespace vit::kernels {

// A float's upper half: its sign, its exponent, and 8 of its 24 digits.
enum class BFloat16 : uint16_t {};

// The nearest, of two the one farther from 0; `value` must be finite.
constexpr BFloat16 ToBFloat16(float value) {
  return BFloat16((std::bit_cast<uint32_t>(value) + 0x8000) >> 16);
}
constexpr float ToFloat(BFloat16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value) << 16);
}

// One image's queries, keys and values, the heads side by side in every row:
// head h is the columns from h * head_width on.
struct AttentionInput {
  const float* query = nullptr;  // [queries][heads * head_width]
  size_t query_stride = 0;
  const float* key = nullptr;    // [tokens][heads * head_width]
  const float* value = nullptr;  // the same
  size_t key_value_stride = 0;   // of both
  size_t queries = 0;            // rows that ask, at most `tokens`
  size_t tokens = 0;
  size_t heads = 0;
  size_t head_width = 0;
};

// Floats of scratch memory that SelfAttention needs.
size_t AttentionScratch(size_t tokens, size_t head_width);

// Softmax(Q K^T) V of every head (Vaswani et al. 2017, arXiv 1706.03762,
// equation 1), the softmax with powers of two: 1 / sqrt(d_k) and the logarithm
// of e to base 2 are expected to be in the queries already.
//
// context: [queries][heads * head_width]. Where `weights` is not null, the
// softmax is written there: [heads][queries][tokens]. The scores of a few
// queries at a time live in `scratch`, of AttentionScratch floats; no more of
// them is ever in memory.
void SelfAttention(const AttentionInput& in, float* context,
                   size_t context_stride, float* weights, float* scratch);
void SelfAttention(const AttentionInput& in, BFloat16* context,
                   size_t context_stride, float* weights, float* scratch);

// The same, each context value c as c * inverse_scale + zero_point.
void SelfAttention(const AttentionInput& in, float inverse_scale,
                   float zero_point, uint8_t* context, size_t context_stride,
                   float* weights, float* scratch);

// Self-attention of one query where nothing else asks: keys and values of the
// tokens are not made. q . (W_k x + b_k) is (W_k^T q) . x but for q . b_k,
// which is the same for all keys, and so nothing to softmax; and the weighted
// sum of W_v x + b_v is W_v (the weighted sum of x) + b_v. (DeepSeek-AI 2024,
// arXiv 2405.04434, section 2.1.2, absorbs matrices alike.) For 17 tokens that
// is an eighth of the products.
inline constexpr size_t kAbsorbedStep = 16;
constexpr size_t WholeAbsorbedSteps(size_t count) {
  return (count + kAbsorbedStep - 1) / kAbsorbedStep * kAbsorbedStep;
}
// The width is heads * head_width. What a row lacks of whole steps is zero.
struct AbsorbedWeights {
  const float* key = nullptr;    // W_k: [width][whole steps of width]
  const float* value = nullptr;  // W_v^T: [heads][width][steps of head_width]
  const float* bias = nullptr;   // b_v: [heads][steps of head_width]
  size_t heads = 0;
  size_t head_width = 0;
};
struct AbsorbedInput {
  const float* query = nullptr;  // [width], as SelfAttention's
  // [tokens][width]; up to kAbsorbedStep values behind the last are read, which
  // may be whatever is finite.
  const float* data = nullptr;
  size_t tokens = 0;
};

// Floats of scratch memory that AbsorbedAttention needs.
constexpr size_t AbsorbedScratch(size_t tokens, size_t width) {
  return 2 * WholeAbsorbedSteps(width) + WholeAbsorbedSteps(tokens);
}

// context: [width], in bytes each value c as c * inverse_scale + zero_point.
void AbsorbedAttention(const AbsorbedInput& in, const AbsorbedWeights& by,
                       float* context, float* scratch);
void AbsorbedAttention(const AbsorbedInput& in, const AbsorbedWeights& by,
                       BFloat16* context, float* scratch);
void AbsorbedAttention(const AbsorbedInput& in, const AbsorbedWeights& by,
                       float inverse_scale, float zero_point, uint8_t* context,
                       float* scratch);

// Self-attention in bytes, for instruction sets that have it: AVX-512 with VNNI
// and VBMI, where `head_width` is a multiple of 16 and `score_step` within the
// limits below. All bytes have the zero point 128.
//
// The scores' products are exact. The softmax's numerators are rounded to
// bytes, the largest of a row being 255, and are summed up as rounded, so that
// a row's weights sum to 1; each is within kPowerError of it or half a byte.
struct ByteAttentionInput {
  const uint8_t* query = nullptr;  // as in AttentionInput
  size_t query_stride = 0;
  const uint8_t* key = nullptr;
  const uint8_t* value = nullptr;
  size_t key_value_stride = 0;
  size_t queries = 0;
  size_t tokens = 0;
  size_t heads = 0;
  size_t head_width = 0;
  float score_step = 0;  // product of a query's and a key's step
  float value_step = 0;
};
inline constexpr float kLeastScoreStep = 9.0f / 32768.0f;
inline constexpr float kLargestScoreStep = 9.0f / 256.0f;
inline constexpr float kPowerError = 0.02f;
bool HasByteAttention();
void SelfAttention(const ByteAttentionInput& in, float inverse_scale,
                   float zero_point, uint8_t* context, size_t context_stride,
                   float* weights, float* scratch);

// Layer normalisation (Ba et al. 2016, arXiv 1607.06450): every row becomes
// (row - mean) / sqrt(variance + epsilon) * gain + shift. `out` is dense. For
// a quantised result scale and zero point are part of gain and shift.
struct NormInput {
  const float* data;  // [rows][width]
  size_t stride;
  size_t rows;
  size_t width;
  const float* gain;   // [width]
  const float* shift;  // [width]
  float epsilon;
};
void LayerNorm(const NormInput& in, float* out);
void LayerNorm(const NormInput& in, BFloat16* out);
void LayerNorm(const NormInput& in, uint8_t* out);

// Gaussian error linear unit x Phi(x) (Hendrycks & Gimpel 2016, arXiv
// 1606.08415), with a rational approximation of Phi that is within
// kGeluError + kGeluRelativeError * |x| of the exact result. `out` may be `x`.
inline constexpr float kGeluError = 3e-6f;
inline constexpr float kGeluRelativeError = 6e-7f;
void Gelu(const float* x, size_t count, float* out);

// The same, each result g as g * inverse_scale + zero_point. A byte's step is
// coarser than this error for |x| up to 8, so that is all it is worth; and so
// is the last digit of a BFloat16, but for results below 0.1.
inline constexpr float kGeluByteError = 4.1e-4f;
void Gelu(const float* x, size_t count, BFloat16* out);
void Gelu(const float* x, size_t count, float inverse_scale, float zero_point,
          uint8_t* out);

// Linear layers, for networks whose matrices are so small that calling a
// primitive costs as much as running it. The weights lie in blocks of
// kLinearBlock outputs, each [inputs / step][kLinearBlock][step]: what is
// multiplied together lies together. What a block or a step lacks is zero.
inline constexpr size_t kLinearBlock = 64;
inline constexpr size_t kFloatStep = 1;
inline constexpr size_t kBFloatStep = 2;
inline constexpr size_t kByteStep = 4;
// The step of weights of this type: as many as fill four bytes.
template <typename Weight>
inline constexpr size_t kStepOf = 4 / sizeof(Weight);
constexpr size_t LinearBlocks(size_t outputs) {
  return (outputs + kLinearBlock - 1) / kLinearBlock;
}
constexpr size_t LinearSteps(size_t inputs, size_t step) {
  return (inputs + step - 1) / step;
}
constexpr size_t OrderedWeightSize(size_t inputs, size_t outputs, size_t step) {
  return LinearBlocks(outputs) * kLinearBlock * LinearSteps(inputs, step) *
         step;
}

// weight: [outputs][inputs]; ordered: of OrderedWeightSize, zero.
template <typename Weight>
void OrderWeights(const Weight* weight, size_t inputs, size_t outputs,
                  size_t step, Weight* ordered) {
  for (size_t o = 0; o < outputs; ++o) {
    for (size_t i = 0; i < inputs; ++i) {
      const size_t block = o / kLinearBlock * LinearSteps(inputs, step);
      ordered[((block + i / step) * kLinearBlock + o % kLinearBlock) * step +
              i % step] = weight[o * inputs + i];
    }
  }
}

// y = W x + bias in floats, and in BFloat16 with sums in floats; in bytes
// y = scale (W x) + bias, the product exact.
// All memory starts at a multiple of 64 bytes.
template <typename Weight>
struct OrderedLinear {
  const Weight* weight = nullptr;  // as OrderWeights wrote them
  const float* scale = nullptr;    // [LinearBlocks(outputs) * kLinearBlock]
  const float* bias = nullptr;     // the same
  size_t inputs = 0;
  size_t outputs = 0;
};

// Whole steps are read of a row: behind the last one must be memory for what
// `inputs` lacks.
template <typename Input>
struct Rows {
  const Input* data = nullptr;  // [rows][inputs]
  size_t stride = 0;
  size_t rows = 0;
};

// Whether the chosen instruction set has these layers: AVX-512, in bytes with
// VNNI, in BFloat16 with BF16. None of them may be called where it has not.
bool HasFloatLinear();
bool HasBFloatLinear();
bool HasByteLinear();

// out = y. `out` is dense, here and below.
void Linear(const Rows<float>& in, const OrderedLinear<float>& by, float* out);
void Linear(const Rows<BFloat16>& in, const OrderedLinear<BFloat16>& by,
            float* out);
void Linear(const Rows<uint8_t>& in, const OrderedLinear<int8_t>& by,
            float* out);

// The same in bytes, what makes bytes of y being part of scale and bias.
void Linear(const Rows<uint8_t>& in, const OrderedLinear<int8_t>& by,
            uint8_t* out);

// out += y: a residual.
void LinearAdd(const Rows<float>& in, const OrderedLinear<float>& by,
               float* out);
void LinearAdd(const Rows<BFloat16>& in, const OrderedLinear<BFloat16>& by,
               float* out);
void LinearAdd(const Rows<uint8_t>& in, const OrderedLinear<int8_t>& by,
               float* out);

// out = GELU(y), in bytes * inverse_scale + zero_point.
void LinearGelu(const Rows<float>& in, const OrderedLinear<float>& by,
                float* out);
void LinearGelu(const Rows<BFloat16>& in, const OrderedLinear<BFloat16>& by,
                BFloat16* out);
void LinearGelu(const Rows<uint8_t>& in, const OrderedLinear<int8_t>& by,
                float inverse_scale, float zero_point, uint8_t* out);

// The instruction set that the kernels run on here, such as "AVX3_ZEN4".
std::string TargetName();

// For tests: the names of all instruction sets that were built in and that this
// CPU has, and the choice of one of them for all calls from now on; an empty
// name leaves the choice to the CPU again.
std::vector<std::string> TargetNames();
void UseTarget(const std::string& name);

}  // namespace vit::kernels

#endif  // MNIST_VIT_MODEL_KERNELS_H_
