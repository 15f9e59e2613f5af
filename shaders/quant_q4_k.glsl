/* quant_q4_k.glsl: reads rows of Q4_K weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: the bindings of the two planes
 * chunk   uvec4 of 32 elements, an eighth of a block: nibbles
 * scales  uvec4 a block: binary16 scale of scales and of offsets; sixes, scale and offset of each
 *         chunk
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
    uvec4 w_scales[];
};

struct w_raw {
    uvec4 q;
    vec2 dm;
};

w_raw w_load(uint row, uint chunk, uint n_chunk, uint n_scale) {
    uvec4 s = w_scales[row * (n_scale / 4u) + chunk / 8u];
    return w_raw(w_quants[row * n_chunk + chunk],
                 unpackHalf2x16(s.x) * w_sixes(s.yzw, chunk % 8u));
}

/* Products are exact: with or without fusion there is one rounding. */
vec4 w_four(w_raw raw, uint e) {
    return vec4(w_nibbles(raw.q, e)) * raw.dm.x - raw.dm.y;
}

uint w_bytes(w_raw raw, uint e) {
    return w_nibble_bytes(raw.q, e);
}

float w_scale(w_raw raw, uint e) {
    return raw.dm.x;
}

float w_offset(w_raw raw, uint e) {
    return -raw.dm.y;
}
