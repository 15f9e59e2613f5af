/* types.glsl: the reader of the weight type a kernel is compiled for, by its define W_<TYPE>:
 * w_chunk() and W_CHUNK.
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: bindings of the two planes */
#if defined(W_F32)
#include "quant_f32.glsl"
#elif defined(W_F16)
#include "quant_f16.glsl"
#elif defined(W_BF16)
#include "quant_bf16.glsl"
#elif defined(W_Q8_0)
#include "quant_q8_0.glsl"
#elif defined(W_Q4_0)
#include "quant_q4_0.glsl"
#else
#error "no weight type: define one of W_F32, W_F16 ..., and give it its line here"
#endif
