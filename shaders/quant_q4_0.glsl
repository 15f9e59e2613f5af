/* quant_q4_0.glsl: reads rows of Q4_0 weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: the bindings of the two planes
 * chunk   uvec4 of 32 elements, one block; component k holds element 4k + i in bits 8i to
 *         8i + 3 and element 16 + 4k + i in bits 8i + 4 to 8i + 7, each 8 more than its level
 * scales  word b / 2 holds the binary16 scale of block b: even b in bits 0-15, odd b in bits 16-31
 * exact   except for subnormal scales (below 6.1e-5), which a device may flush to zero in
 *         unpackHalf2x16 */
#define W_CHUNK 32
#define QUANT_HAS_SCALES

layout(std430, set = 0, binding = W_QUANTS_BINDING) readonly buffer w_quants_plane {
    uvec4 w_quants[];
};
layout(std430, set = 0, binding = W_SCALES_BINDING) readonly buffer w_scales_plane {
    uint w_scales[];
};

/* v  out, elements chunk * W_CHUNK + [0, W_CHUNK) of a row; a row is n_chunk chunks and n_scale
 *    words of scales long */
void w_chunk(uint row, uint chunk, uint n_chunk, uint n_scale, out float v[W_CHUNK]) {
    vec2 pair = unpackHalf2x16(w_scales[row * n_scale + chunk / 2u]);
    float d = (chunk & 1u) == 0u ? pair.x : pair.y;
    uvec4 q = w_quants[row * n_chunk + chunk];
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < 4; i++) {
            int byte = int(bitfieldExtract(q[k], 8 * i, 8));
            v[4 * k + i] = float((byte & 15) - 8) * d;
            v[16 + 4 * k + i] = float((byte >> 4) - 8) * d;
        }
}
