/* quant_q5_k.glsl: reads rows of Q5_K weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: the bindings of the two planes
 * chunk   uvec4 of 32 elements, an eighth of a block: nibbles, the low four bits of levels
 * scales  twelve words a block: binary16 scale of scales and of offsets; three words of sixes,
 *         scale and offset of each chunk; fifth bits of each chunk
 * exact   except for subnormal scales (below 6.1e-5), which a device may flush to zero */
#include "quant_bits.glsl"
#define W_CHUNK 32
#define QUANT_HAS_SCALES
#define W_SPAN 32
#define W_OFFSET

layout(std430, set = 0, binding = W_QUANTS_BINDING) readonly buffer w_quants_plane {
    uvec4 w_quants[];
};
layout(std430, set = 0, binding = W_SCALES_BINDING) readonly buffer w_scales_plane {
    uint w_scales[];
};

struct w_raw {
    uvec4 q;
    uint fifths;
    vec2 dm;
};

w_raw w_load(uint row, uint chunk, uint n_chunk, uint n_scale) {
    uint at = row * n_scale + chunk / 8u * 12u, g = chunk % 8u;
    uvec3 sixes = uvec3(w_scales[at + 1u], w_scales[at + 2u], w_scales[at + 3u]);
    return w_raw(w_quants[row * n_chunk + chunk], w_scales[at + 4u + g],
                 unpackHalf2x16(w_scales[at]) * w_sixes(sixes, g));
}

/* Products are exact: with or without fusion there is one rounding. */
vec4 w_four(w_raw raw, uint e) {
    return vec4(w_nibbles(raw.q, e) | w_bits(raw.fifths, e) << 4) * raw.dm.x - raw.dm.y;
}

uint w_bytes(w_raw raw, uint e) {
    return w_nibble_bytes(raw.q, e) | w_bit_bytes(raw.fifths, e) << 4;
}

float w_scale(w_raw raw, uint e) {
    return raw.dm.x;
}

float w_offset(w_raw raw, uint e) {
    return -raw.dm.y;
}
