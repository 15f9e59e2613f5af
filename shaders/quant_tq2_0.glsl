/* quant_tq2_0.glsl: reads rows of TQ2_0 (and TQ1_0) weights as pm__type_pack lays them out
 * (quant.h).
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: the bindings of the two planes
 * chunk   uvec2 of 32 elements: pairs, each one more than its level
 * scales  word b / 2 holds the binary16 scale of block b: even b in bits 0-15, odd b in bits 16-31
 * exact   except for subnormal scales (below 6.1e-5), which a device may flush to zero */
#include "quant_bits.glsl"
#define W_CHUNK 32
#define QUANT_HAS_SCALES
#define W_SPAN 32
#define W_OFFSET
#define W_MIDDLE 1u

layout(std430, set = 0, binding = W_QUANTS_BINDING) readonly buffer w_quants_plane {
    uvec2 w_quants[];
};
layout(std430, set = 0, binding = W_SCALES_BINDING) readonly buffer w_scales_plane {
    uint w_scales[];
};

struct w_raw {
    uvec2 q;
    float d;
};

w_raw w_load(uint row, uint chunk, uint n_chunk, uint n_scale) {
    return w_raw(w_quants[row * n_chunk + chunk],
                 w_half(w_scales[row * n_scale + chunk / 16u], chunk / 8u & 1u));
}

vec4 w_four(w_raw raw, uint e) {
    return vec4(ivec4(w_pairs(raw.q, e)) - 1) * raw.d;
}

uint w_bytes(w_raw raw, uint e) {
    return w_pair_bytes(raw.q, e);
}

float w_scale(w_raw raw, uint e) {
    return raw.d;
}

float w_offset(w_raw raw, uint e) {
    return -float(W_MIDDLE) * raw.d;
}
