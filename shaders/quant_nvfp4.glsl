/* quant_nvfp4.glsl: reads rows of NVFP4 weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: the bindings of the two planes
 * chunk   uvec4 of 32 elements, half a block: nibbles
 * scales  word b has the four scales of block b, each of 16 elements: four bits of exponent,
 *         three of mantissa */
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
    vec2 d; // of the first and the second 16 elements
};

/* Half of it, as the levels are twice what they stand for. 127 is no number and counts as 0. */
float w_scale(uint byte) {
    uint exponent = byte >> 3 & 15u, mantissa = byte & 7u;
    float normal = uintBitsToFloat((exponent + 119u) << 23 | mantissa << 20);
    return byte == 127u ? 0.0 : exponent == 0u ? float(mantissa) * 0.0009765625 : normal;
}

w_raw w_load(uint row, uint chunk, uint n_chunk, uint n_scale) {
    uint s = w_scales[row * n_scale + chunk / 2u] >> 16u * (chunk & 1u);
    return w_raw(w_quants[row * n_chunk + chunk],
                 vec2(w_scale(s & 255u), w_scale(s >> 8 & 255u)));
}

vec4 w_four(w_raw raw, uint e) {
    return w_levels_fp4(w_nibbles(raw.q, e)) * (e < 16u ? raw.d.x : raw.d.y);
}
