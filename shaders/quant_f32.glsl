/* quant_f32.glsl: reads rows of F32 weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING, a define: the binding of the quants plane
 * chunk   uvec4 of 4 elements; component e is element e
 * scales  none */
#define W_CHUNK 4

layout(std430, set = 0, binding = W_QUANTS_BINDING) readonly buffer w_quants_plane {
    uvec4 w_quants[];
};

/* v  out, elements chunk * W_CHUNK + [0, W_CHUNK) of a row; a row is n_chunk chunks and n_scale
 *    words of scales long */
void w_chunk(uint row, uint chunk, uint n_chunk, uint n_scale, out float v[W_CHUNK]) {
    vec4 x = uintBitsToFloat(w_quants[row * n_chunk + chunk]);
    v = float[W_CHUNK](x.x, x.y, x.z, x.w);
}
