/* quant_q5_0.glsl: reads rows of Q5_0 weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: the bindings of the two planes
 * chunk   uvec4 of 32 elements, one block: nibbles, the low four bits of levels that are 16 more
 * scales  three words a pair of blocks: fifth bits of both, then both binary16 scales
 * exact   except for subnormal scales (below 6.1e-5), which a device may flush to zero */
#include "quant_bits.glsl"
#define W_CHUNK 32
#define QUANT_HAS_SCALES
#define W_SPAN 32
#define W_OFFSET
#define W_MIDDLE 16u

layout(std430, set = 0, binding = W_QUANTS_BINDING) readonly buffer w_quants_plane {
    uvec4 w_quants[];
};
layout(std430, set = 0, binding = W_SCALES_BINDING) readonly buffer w_scales_plane {
    uint w_scales[];
};

struct w_raw {
    uvec4 q;
    uint fifths;
    float d;
};

w_raw w_load(uint row, uint chunk, uint n_chunk, uint n_scale) {
    uint at = row * n_scale + chunk / 2u * 3u, odd = chunk & 1u;
    return w_raw(w_quants[row * n_chunk + chunk], w_scales[at + odd],
                 w_half(w_scales[at + 2u], odd));
}

vec4 w_four(w_raw raw, uint e) {
    uvec4 q = w_nibbles(raw.q, e) | w_bits(raw.fifths, e) << 4;
    return vec4(ivec4(q) - 16) * raw.d;
}

uint w_bytes(w_raw raw, uint e) {
    return w_nibble_bytes(raw.q, e) | w_bit_bytes(raw.fifths, e) << 4;
}

float w_scale(w_raw raw, uint e) {
    return raw.d;
}

float w_offset(w_raw raw, uint e) {
    return -float(W_MIDDLE) * raw.d;
}
