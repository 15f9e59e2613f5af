/* quant_bf16.glsl: reads rows of BF16 weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING, a define: the binding of the quants plane
 * chunk   uvec4 of 8 elements; component k holds element 2k in bits 0-15, element 2k + 1
 *         in bits 16-31
 * scales  none */
#define W_CHUNK 8

layout(std430, set = 0, binding = W_QUANTS_BINDING) readonly buffer w_quants_plane {
    uvec4 w_quants[];
};

struct w_raw {
    uvec4 q;
};

w_raw w_load(uint row, uint chunk, uint n_chunk, uint n_scale) {
    return w_raw(w_quants[row * n_chunk + chunk]);
}

vec4 w_four(w_raw raw, uint e) {
    uvec2 q = uvec2(raw.q[e / 2u], raw.q[e / 2u + 1u]);
    return uintBitsToFloat(uvec4(q.x << 16, q.x & 0xffff0000u, q.y << 16, q.y & 0xffff0000u));
}
