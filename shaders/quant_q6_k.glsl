/* quant_q6_k.glsl: reads rows of Q6_K weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: the bindings of the two planes
 * chunk   uvec4 of 32 elements, an eighth of a block: nibbles, the low four bits of levels that
 *         are 32 more
 * scales  21 words a block: pairs, the upper two bits, of each chunk; 16 signed scales of 16
 *         elements; binary16 scale
 * exact   except for subnormal scales (below 6.1e-5), which a device may flush to zero */
#include "quant_bits.glsl"
#define W_CHUNK 32
#define QUANT_HAS_SCALES
#define W_SPAN 16
#define W_OFFSET
#define W_MIDDLE 32u

layout(std430, set = 0, binding = W_QUANTS_BINDING) readonly buffer w_quants_plane {
    uvec4 w_quants[];
};
layout(std430, set = 0, binding = W_SCALES_BINDING) readonly buffer w_scales_plane {
    uint w_scales[];
};

struct w_raw {
    uvec4 q;
    uvec2 upper;
    vec2 d; // of the first and the second 16 elements
};

w_raw w_load(uint row, uint chunk, uint n_chunk, uint n_scale) {
    uint at = row * n_scale + chunk / 8u * 21u, g = chunk % 8u;
    int s = int(w_scales[at + 16u + g / 2u] >> 16u * (g & 1u));
    vec2 scales = vec2(bitfieldExtract(s, 0, 8), bitfieldExtract(s, 8, 8));
    return w_raw(w_quants[row * n_chunk + chunk],
                 uvec2(w_scales[at + 2u * g], w_scales[at + 2u * g + 1u]),
                 w_half(w_scales[at + 20u], 0u) * scales);
}

vec4 w_four(w_raw raw, uint e) {
    uvec4 q = w_nibbles(raw.q, e) | w_pairs(raw.upper, e) << 4;
    return vec4(ivec4(q) - 32) * (e < 16u ? raw.d.x : raw.d.y);
}

uint w_bytes(w_raw raw, uint e) {
    return w_nibble_bytes(raw.q, e) | w_pair_bytes(raw.upper, e) << 4;
}

float w_scale(w_raw raw, uint e) {
    return e < 16u ? raw.d.x : raw.d.y;
}

float w_offset(w_raw raw, uint e) {
    return -float(W_MIDDLE) * w_scale(raw, e);
}
