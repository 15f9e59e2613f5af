/* quant_q3_k.glsl: reads rows of Q3_K weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: the bindings of the two planes
 * chunk   uvec2 of 32 elements, an eighth of a block: pairs, the low bits of levels that are 4
 *         more
 * scales  twelve words a block: binary16 scale; three words of sixes, pair g has the scales of the
 *         halves of chunk g, 32 more; third bits of each chunk
 * exact   except for subnormal scales (below 6.1e-5), which a device may flush to zero */
#include "quant_bits.glsl"
#define W_CHUNK 32
#define QUANT_HAS_SCALES
#define W_SPAN 16
#define W_OFFSET
#define W_MIDDLE 4u

layout(std430, set = 0, binding = W_QUANTS_BINDING) readonly buffer w_quants_plane {
    uvec2 w_quants[];
};
layout(std430, set = 0, binding = W_SCALES_BINDING) readonly buffer w_scales_plane {
    uint w_scales[];
};

struct w_raw {
    uvec2 q;
    uint thirds;
    vec2 d; // of the first and the second 16 elements
};

w_raw w_load(uint row, uint chunk, uint n_chunk, uint n_scale) {
    uint at = row * n_scale + chunk / 8u * 12u, g = chunk % 8u;
    vec2 scales = w_sixes(uvec3(w_scales[at + 1u], w_scales[at + 2u], w_scales[at + 3u]), g);
    return w_raw(w_quants[row * n_chunk + chunk], w_scales[at + 4u + g],
                 w_half(w_scales[at], 0u) * (scales - 32.0));
}

vec4 w_four(w_raw raw, uint e) {
    uvec4 q = w_pairs(raw.q, e) | w_bits(raw.thirds, e) << 2;
    return vec4(ivec4(q) - 4) * (e < 16u ? raw.d.x : raw.d.y);
}

uint w_bytes(w_raw raw, uint e) {
    return w_pair_bytes(raw.q, e) | w_bit_bytes(raw.thirds, e) << 2;
}

float w_scale(w_raw raw, uint e) {
    return e < 16u ? raw.d.x : raw.d.y;
}

float w_offset(w_raw raw, uint e) {
    return -float(W_MIDDLE) * w_scale(raw, e);
}
