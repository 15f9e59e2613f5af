/* quant_mxfp4.glsl: reads rows of MXFP4 weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: the bindings of the two planes
 * chunk   uvec4 of 32 elements, one block: nibbles
 * scales  byte b % 4 of word b / 4 is the exponent of block b, of twice its scale
 * exact   except for numbers and scales that are subnormal, which a device may flush to zero */
#include "quant_bits.glsl"
#include "levels.glsl"
#define W_CHUNK 32
#define QUANT_HAS_SCALES

layout(std430, set = 0, binding = W_QUANTS_BINDING) readonly buffer w_quants_plane {
    uvec4 w_quants[];
};
layout(std430, set = 0, binding = W_SCALES_BINDING) readonly buffer w_scales_plane {
    uint w_scales[];
};

struct w_raw {
    uvec4 q;
    float d;
};

w_raw w_load(uint row, uint chunk, uint n_chunk, uint n_scale) {
    uint x = w_scales[row * n_scale + chunk / 4u] >> 8u * (chunk & 3u) & 255u;
    uint bits = x < 2u ? 0x00200000u << x : (x - 1u) << 23; // 2^(x - 128)
    return w_raw(w_quants[row * n_chunk + chunk], uintBitsToFloat(bits));
}

vec4 w_four(w_raw raw, uint e) {
    return w_levels_fp4(w_nibbles(raw.q, e)) * raw.d;
}
