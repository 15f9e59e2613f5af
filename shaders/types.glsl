/* types.glsl: the reader of the weight type a kernel is compiled for, by its define W_<TYPE>.
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: bindings of the two planes
 * calls   w_load(row, chunk, n_chunk, n_scale): what is stored of elements chunk * W_CHUNK +
 *         [0, W_CHUNK) of a row, which is n_chunk chunks and n_scale words of scales long
 *         w_four(raw, e): elements e to e + 3 of that; e is a multiple of 4, best a constant (of an
 *         unrolled loop). A kernel that decodes as it goes holds a few registers a chunk, not
 *         W_CHUNK, which is 4 to 32
 * where W_SPAN is defined, 16 or 32, a weight is w_scale * level + w_offset, both the same for all
 * of W_SPAN elements, and with W_PAIRED for the block's other chunk too:
 *         w_bytes(raw, e): levels of elements e to e + 3, a byte each, signed ones with W_SIGNED,
 *         else below 64
 *         w_scale(raw, e)
 *         w_offset(raw, e), with W_OFFSET; else it is 0. With W_MIDDLE it is -W_MIDDLE * w_scale */
#if defined(W_F32)
#include "quant_f32.glsl"
#elif defined(W_F16)
#include "quant_f16.glsl"
#elif defined(W_BF16)
#include "quant_bf16.glsl"
#elif defined(W_Q4_0)
#include "quant_q4_0.glsl"
#elif defined(W_Q4_1)
#include "quant_q4_1.glsl"
#elif defined(W_Q5_0)
#include "quant_q5_0.glsl"
#elif defined(W_Q5_1)
#include "quant_q5_1.glsl"
#elif defined(W_Q8_0)
#include "quant_q8_0.glsl"
#elif defined(W_Q2_K)
#include "quant_q2_k.glsl"
#elif defined(W_Q3_K)
#include "quant_q3_k.glsl"
#elif defined(W_Q4_K)
#include "quant_q4_k.glsl"
#elif defined(W_Q5_K)
#include "quant_q5_k.glsl"
#elif defined(W_Q6_K)
#include "quant_q6_k.glsl"
#elif defined(W_IQ4_NL)
#include "quant_iq4_nl.glsl"
#elif defined(W_IQ4_XS)
#include "quant_iq4_xs.glsl"
#elif defined(W_MXFP4)
#include "quant_mxfp4.glsl"
#elif defined(W_NVFP4)
#include "quant_nvfp4.glsl"
#elif defined(W_TQ1_0) || defined(W_TQ2_0)
#include "quant_tq2_0.glsl"
#elif defined(W_Q1_0)
#include "quant_q1_0.glsl"
#elif defined(W_Q2_0)
#include "quant_q2_0.glsl"
#elif defined(W_IQ1_S)
#include "quant_iq1_s.glsl"
#elif defined(W_IQ1_M)
#include "quant_iq1_m.glsl"
#elif defined(W_IQ2_XXS)
#include "quant_iq2_xxs.glsl"
#elif defined(W_IQ2_XS)
#include "quant_iq2_xs.glsl"
#elif defined(W_IQ2_S)
#include "quant_iq2_s.glsl"
#elif defined(W_IQ3_XXS)
#include "quant_iq3_xxs.glsl"
#elif defined(W_IQ3_S)
#include "quant_iq3_s.glsl"
#else
#error "no weight type: define one of W_F32, W_F16 ..., and give it its line here"
#endif
