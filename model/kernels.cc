#include "model/kernels.h"

// Not built by default: AVX-512 with VNNI.
#define HWY_WANT_AVX3_DL
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/kernels.cc"
// Includes this file once for every instruction set.
#include "hwy/foreach_target.h"
// After foreach_target.h.
#include "hwy/highway.h"
#include "model/kernels_absorbed-inl.h"
#include "model/kernels_attention-inl.h"
#include "model/kernels_byte_attention-inl.h"
#include "model/kernels_linear-inl.h"
#include "model/kernels_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace vit::kernels::HWY_NAMESPACE {

template <typename Out>
void Attend(const AttentionInput& in, float scale, float zero, Out* context,
            size_t stride, float* weights, float* scratch) {
  AttendAll(hn::ScalableTag<float>(), in,
            Answer<Out>{context, stride, scale, zero, weights}, scratch);
}

void AttendToFloat(const AttentionInput& in, float* context, size_t stride,
                   float* weights, float* scratch) {
  Attend(in, 1.0f, 0.0f, context, stride, weights, scratch);
}

void AttendToBFloat(const AttentionInput& in, BFloat16* context, size_t stride,
                    float* weights, float* scratch) {
  Attend(in, 1.0f, 0.0f, context, stride, weights, scratch);
}

void AttendToByte(const AttentionInput& in, float scale, float zero,
                  uint8_t* context, size_t stride, float* weights,
                  float* scratch) {
  Attend(in, scale, zero, context, stride, weights, scratch);
}

void AbsorbedToFloat(const AbsorbedInput& in, const AbsorbedWeights& by,
                     float* context, float* scratch) {
  AttendAbsorbed(in, by, 1.0f, 0.0f, context, scratch);
}

void AbsorbedToBFloat(const AbsorbedInput& in, const AbsorbedWeights& by,
                      BFloat16* context, float* scratch) {
  AttendAbsorbed(in, by, 1.0f, 0.0f, context, scratch);
}

void AbsorbedToByte(const AbsorbedInput& in, const AbsorbedWeights& by,
                    float scale, float zero, uint8_t* context, float* scratch) {
  AttendAbsorbed(in, by, scale, zero, context, scratch);
}

void NormToFloat(const NormInput& in, float* out) { NormRows(in, out); }
void NormToBFloat(const NormInput& in, BFloat16* out) { NormRows(in, out); }
void NormToByte(const NormInput& in, uint8_t* out) { NormRows(in, out); }

void GeluToFloat(const float* x, size_t count, float* out) {
  GeluAll(x, count, 1.0f, 0.0f, out);
}

void GeluToBFloat(const float* x, size_t count, BFloat16* out) {
  GeluAll(x, count, 1.0f, 0.0f, out);
}

void GeluToByte(const float* x, size_t count, float scale, float zero,
                uint8_t* out) {
  GeluAll(x, count, scale, zero, out);
}

std::string Name() { return hwy::TargetName(HWY_TARGET); }

}  // namespace vit::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace vit::kernels {

HWY_EXPORT(AttendToFloat);
HWY_EXPORT(AttendToBFloat);
HWY_EXPORT(AttendToByte);
HWY_EXPORT(AbsorbedToFloat);
HWY_EXPORT(AbsorbedToBFloat);
HWY_EXPORT(AbsorbedToByte);
HWY_EXPORT(HasAttentionInBytes);
HWY_EXPORT(AttendInBytes);
HWY_EXPORT(NormToFloat);
HWY_EXPORT(NormToBFloat);
HWY_EXPORT(NormToByte);
HWY_EXPORT(GeluToFloat);
HWY_EXPORT(GeluToBFloat);
HWY_EXPORT(GeluToByte);
HWY_EXPORT(HasFloats);
HWY_EXPORT(HasBFloats);
HWY_EXPORT(HasBytes);
HWY_EXPORT(FloatLinear);
HWY_EXPORT(FloatLinearAdd);
HWY_EXPORT(FloatLinearGelu);
HWY_EXPORT(BFloatLinear);
HWY_EXPORT(BFloatLinearAdd);
HWY_EXPORT(BFloatLinearGelu);
HWY_EXPORT(ByteLinear);
HWY_EXPORT(ByteLinearToByte);
HWY_EXPORT(ByteLinearAdd);
HWY_EXPORT(ByteLinearGelu);
HWY_EXPORT(Name);

size_t AttentionScratch(size_t tokens, size_t head_width) {
  // A vector of queries, the scores of one, and the rows of four heads, with up
  // to 64 lanes a vector.
  return (head_width + tokens + 4) * 64;
}

void SelfAttention(const AttentionInput& in, float* context,
                   size_t context_stride, float* weights, float* scratch) {
  HWY_DYNAMIC_DISPATCH(AttendToFloat)
  (in, context, context_stride, weights, scratch);
}

void SelfAttention(const AttentionInput& in, BFloat16* context,
                   size_t context_stride, float* weights, float* scratch) {
  HWY_DYNAMIC_DISPATCH(AttendToBFloat)
  (in, context, context_stride, weights, scratch);
}

void SelfAttention(const AttentionInput& in, float inverse_scale,
                   float zero_point, uint8_t* context, size_t context_stride,
                   float* weights, float* scratch) {
  HWY_DYNAMIC_DISPATCH(AttendToByte)
  (in, inverse_scale, zero_point, context, context_stride, weights, scratch);
}

void AbsorbedAttention(const AbsorbedInput& in, const AbsorbedWeights& by,
                       float* context, float* scratch) {
  HWY_DYNAMIC_DISPATCH(AbsorbedToFloat)(in, by, context, scratch);
}

void AbsorbedAttention(const AbsorbedInput& in, const AbsorbedWeights& by,
                       BFloat16* context, float* scratch) {
  HWY_DYNAMIC_DISPATCH(AbsorbedToBFloat)(in, by, context, scratch);
}

void AbsorbedAttention(const AbsorbedInput& in, const AbsorbedWeights& by,
                       float inverse_scale, float zero_point, uint8_t* context,
                       float* scratch) {
  HWY_DYNAMIC_DISPATCH(AbsorbedToByte)
  (in, by, inverse_scale, zero_point, context, scratch);
}

bool HasByteAttention() { return HWY_DYNAMIC_DISPATCH(HasAttentionInBytes)(); }

void SelfAttention(const ByteAttentionInput& in, float inverse_scale,
                   float zero_point, uint8_t* context, size_t context_stride,
                   float* weights, float* scratch) {
  HWY_DYNAMIC_DISPATCH(AttendInBytes)
  (in, inverse_scale, zero_point, context, context_stride, weights, scratch);
}

void LayerNorm(const NormInput& in, float* out) {
  HWY_DYNAMIC_DISPATCH(NormToFloat)(in, out);
}

void LayerNorm(const NormInput& in, BFloat16* out) {
  HWY_DYNAMIC_DISPATCH(NormToBFloat)(in, out);
}

void LayerNorm(const NormInput& in, uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(NormToByte)(in, out);
}

void Gelu(const float* x, size_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(GeluToFloat)(x, count, out);
}

void Gelu(const float* x, size_t count, BFloat16* out) {
  HWY_DYNAMIC_DISPATCH(GeluToBFloat)(x, count, out);
}

void Gelu(const float* x, size_t count, float inverse_scale, float zero_point,
          uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(GeluToByte)(x, count, inverse_scale, zero_point, out);
}

bool HasFloatLinear() { return HWY_DYNAMIC_DISPATCH(HasFloats)(); }
bool HasBFloatLinear() { return HWY_DYNAMIC_DISPATCH(HasBFloats)(); }
bool HasByteLinear() { return HWY_DYNAMIC_DISPATCH(HasBytes)(); }

void Linear(const Rows<float>& in, const OrderedLinear<float>& by, float* out) {
  HWY_DYNAMIC_DISPATCH(FloatLinear)(in, by, out);
}

void Linear(const Rows<BFloat16>& in, const OrderedLinear<BFloat16>& by,
            float* out) {
  HWY_DYNAMIC_DISPATCH(BFloatLinear)(in, by, out);
}

void Linear(const Rows<uint8_t>& in, const OrderedLinear<int8_t>& by,
            float* out) {
  HWY_DYNAMIC_DISPATCH(ByteLinear)(in, by, out);
}

void Linear(const Rows<uint8_t>& in, const OrderedLinear<int8_t>& by,
            uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(ByteLinearToByte)(in, by, out);
}

void LinearAdd(const Rows<float>& in, const OrderedLinear<float>& by,
               float* out) {
  HWY_DYNAMIC_DISPATCH(FloatLinearAdd)(in, by, out);
}

void LinearAdd(const Rows<BFloat16>& in, const OrderedLinear<BFloat16>& by,
               float* out) {
  HWY_DYNAMIC_DISPATCH(BFloatLinearAdd)(in, by, out);
}

void LinearAdd(const Rows<uint8_t>& in, const OrderedLinear<int8_t>& by,
               float* out) {
  HWY_DYNAMIC_DISPATCH(ByteLinearAdd)(in, by, out);
}

void LinearGelu(const Rows<float>& in, const OrderedLinear<float>& by,
                float* out) {
  HWY_DYNAMIC_DISPATCH(FloatLinearGelu)(in, by, out);
}

void LinearGelu(const Rows<BFloat16>& in, const OrderedLinear<BFloat16>& by,
                BFloat16* out) {
  HWY_DYNAMIC_DISPATCH(BFloatLinearGelu)(in, by, out);
}

void LinearGelu(const Rows<uint8_t>& in, const OrderedLinear<int8_t>& by,
                float inverse_scale, float zero_point, uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(ByteLinearGelu)
  (in, by, inverse_scale, zero_point, out);
}

std::string TargetName() { return HWY_DYNAMIC_DISPATCH(Name)(); }

std::vector<std::string> TargetNames() {
  std::vector<std::string> names;
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    names.emplace_back(hwy::TargetName(target));
  }
  return names;
}

void UseTarget(const std::string& name) {
  hwy::SetSupportedTargetsForTest(0);
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    if (hwy::TargetName(target) == name) {
      hwy::SetSupportedTargetsForTest(target);
      break;
    }
  }
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}

}  // namespace vit::kernels
#endif  // HWY_ONCE
