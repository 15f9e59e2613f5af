/* quant_q2_k.glsl: reads rows of Q2_K weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: the bindings of the two planes
 * chunk   uvec2 of 32 elements, an eighth of a block: pairs
 * scales  five words a block: binary16 scale of scales and of offsets; 16 bytes, of each 16
 *         elements the scale in the low half, the offset in the high one
 * exact   except for subnormal scales (below 6.1e-5), which a device may flush to zero */
#include "quant_bits.glsl"
#define W_CHUNK 32
#define QUANT_HAS_SCALES
#define W_SPAN 16
#define W_OFFSET

layout(std430, set = 0, binding = W_QUANTS_BINDING) readonly buffer w_quants_plane {
    uvec2 w_quants[];
};
layout(std430, set = 0, binding = W_SCALES_BINDING) readonly buffer w_scales_plane {
    uint w_scales[];
};

struct w_raw {
    uvec2 q;
    vec2 d, m; // of the first and the second 16 elements
};

w_raw w_load(uint row, uint chunk, uint n_chunk, uint n_scale) {
    uint at = row * n_scale + chunk / 8u * 5u;
    vec2 all = unpackHalf2x16(w_scales[at]);
    uint s = w_scales[at + 1u + chunk % 8u / 2u] >> 16u * (chunk & 1u);
    return w_raw(w_quants[row * n_chunk + chunk], all.x * vec2(s & 15u, s >> 8 & 15u),
                 all.y * vec2(s >> 4 & 15u, s >> 12 & 15u));
}

/* Products are exact: with or without fusion there is one rounding. */
vec4 w_four(w_raw raw, uint e) {
    return vec4(w_pairs(raw.q, e)) * (e < 16u ? raw.d.x : raw.d.y) -
           (e < 16u ? raw.m.x : raw.m.y);
}

uint w_bytes(w_raw raw, uint e) {
    return w_pair_bytes(raw.q, e);
}

float w_scale(w_raw raw, uint e) {
    return e < 16u ? raw.d.x : raw.d.y;
}

float w_offset(w_raw raw, uint e) {
    return e < 16u ? -raw.m.x : -raw.m.y;
}
