/* quant_f16.glsl: reads rows of F16 weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING, a define: the binding of the quants plane
 * chunk   uvec4 of 8 elements; component k holds element 2k in bits 0-15, element 2k + 1
 *         in bits 16-31
 * scales  none
 * exact   except for subnormal halves (below 6.1e-5), which a device may flush to zero in
 *         unpackHalf2x16 */
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
    return vec4(unpackHalf2x16(raw.q[e / 2u]), unpackHalf2x16(raw.q[e / 2u + 1u]));
}
