/* quant_q1_0.glsl: reads rows of Q1_0 weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: the bindings of the two planes
 * chunk   uint of 32 elements, a quarter of a block: bits, set where the scale keeps its sign
 * scales  word b / 2 holds the binary16 scale of block b: even b in bits 0-15, odd b in bits 16-31
 * exact   except for subnormal scales (below 6.1e-5), which a device may flush to zero */
#include "quant_bits.glsl"
#define W_CHUNK 32
#define QUANT_HAS_SCALES
#define W_SPAN 32
#define W_OFFSET

layout(std430, set = 0, binding = W_QUANTS_BINDING) readonly buffer w_quants_plane {
    uint w_quants[];
};
layout(std430, set = 0, binding = W_SCALES_BINDING) readonly buffer w_scales_plane {
    uint w_scales[];
};

struct w_raw {
    uint q;
    float d;
};

w_raw w_load(uint row, uint chunk, uint n_chunk, uint n_scale) {
    return w_raw(w_quants[row * n_chunk + chunk],
                 w_half(w_scales[row * n_scale + chunk / 8u], chunk / 4u & 1u));
}

vec4 w_four(w_raw raw, uint e) {
    return (vec4(w_bits(raw.q, e)) * 2.0 - 1.0) * raw.d;
}

uint w_bytes(w_raw raw, uint e) {
    return w_bit_bytes(raw.q, e);
}

float w_scale(w_raw raw, uint e) {
    return 2.0 * raw.d;
}

float w_offset(w_raw raw, uint e) {
    return -raw.d;
}
