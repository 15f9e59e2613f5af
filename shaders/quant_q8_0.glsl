/* quant_q8_0.glsl: reads rows of Q8_0 weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: the bindings of the two planes
 * chunk   uvec4 of 16 elements, half a block; component k holds element 4k + i in bits
 *         8i to 8i + 7, signed
 * scales  word b / 2 holds the binary16 scale of block b: even b in bits 0-15, odd b in bits 16-31
 * exact   except for subnormal scales (below 6.1e-5), which a device may flush to zero in
 *         unpackHalf2x16 */
#define W_CHUNK 16
#define QUANT_HAS_SCALES
#define W_SPAN 16
#define W_PAIRED
#define W_SIGNED

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
    vec2 pair = unpackHalf2x16(w_scales[row * n_scale + chunk / 4u]);
    return w_raw(w_quants[row * n_chunk + chunk], (chunk & 2u) == 0u ? pair.x : pair.y);
}

vec4 w_four(w_raw raw, uint e) {
    int word = int(raw.q[e / 4u]);
    vec4 v;
    for (int i = 0; i < 4; i++)
        v[i] = float(bitfieldExtract(word, 8 * i, 8)) * raw.d;
    return v;
}

uint w_bytes(w_raw raw, uint e) {
    return raw.q[e / 4u];
}

float w_scale(w_raw raw, uint e) {
    return raw.d;
}
