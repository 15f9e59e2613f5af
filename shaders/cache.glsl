/* cache.glsl: readers of the two caches of attention, as types.glsl has them: k_load(), k_four()
 * and K_CHUNK by the define K_<TYPE>, v_load(), v_four() and V_CHUNK by V_<TYPE>.
 * before  K_QUANTS_BINDING, K_SCALES_BINDING, V_QUANTS_BINDING, V_SCALES_BINDING, defines */
#if defined(K_F32)
#define W_F32
#elif defined(K_F16)
#define W_F16
#elif defined(K_Q8_0)
#define W_Q8_0
#elif defined(K_Q4_0)
#define W_Q4_0
#endif
#define W_QUANTS_BINDING K_QUANTS_BINDING
#define W_SCALES_BINDING K_SCALES_BINDING
#define w_quants_plane k_quants_plane
#define w_scales_plane k_scales_plane
#define w_quants k_quants
#define w_scales k_scales
#define w_raw k_raw
#define w_load k_load
#define w_four k_four
#include "types.glsl"
const uint K_CHUNK = W_CHUNK;

#undef W_F32
#undef W_F16
#undef W_Q8_0
#undef W_Q4_0
#undef W_QUANTS_BINDING
#undef W_SCALES_BINDING
#undef w_quants_plane
#undef w_scales_plane
#undef w_quants
#undef w_scales
#undef w_raw
#undef w_load
#undef w_four
#undef W_CHUNK
#undef QUANT_HAS_SCALES
#undef W_SPAN
#undef W_SIGNED
#undef W_OFFSET

#if defined(V_F32)
#define W_F32
#elif defined(V_F16)
#define W_F16
#elif defined(V_Q8_0)
#define W_Q8_0
#elif defined(V_Q4_0)
#define W_Q4_0
#endif
#define W_QUANTS_BINDING V_QUANTS_BINDING
#define W_SCALES_BINDING V_SCALES_BINDING
#define w_quants_plane v_quants_plane
#define w_scales_plane v_scales_plane
#define w_quants v_quants
#define w_scales v_scales
#define w_raw v_raw
#define w_load v_load
#define w_four v_four
#include "types.glsl"
const uint V_CHUNK = W_CHUNK;
