/* quant_f32.glsl: reads rows of F32 weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING, a define: the binding of the quants plane
 * chunk   uvec4 of 4 elements; component e is element e
 * scales  none */
#define W_CHUNK 4

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
    return uintBitsToFloat(raw.q);
}
