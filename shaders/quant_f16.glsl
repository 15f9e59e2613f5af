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

/* v  out, elements chunk * W_CHUNK + [0, W_CHUNK) of a row; a row is n_chunk chunks and n_scale
 *    words of scales long */
void w_chunk(uint row, uint chunk, uint n_chunk, uint n_scale, out float v[W_CHUNK]) {
    uvec4 q = w_quants[row * n_chunk + chunk];
    for (int k = 0; k < 4; k++) {
        vec2 x = unpackHalf2x16(q[k]);
        v[2 * k] = x.x;
        v[2 * k + 1] = x.y;
    }
}
