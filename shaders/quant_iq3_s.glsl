/* quant_iq3_s.glsl: reads rows of IQ3_S weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: the bindings of the two planes
 * chunk   uvec2 of 32 elements: bytes are the low 8 bits of the grid entries of 4 elements each
 * scales  groups of grid.glsl: a byte for each chunk of the block with a ninth bit for each of its
 *         entries; a word for each with a sign an element; four bits for each, its scale
 * exact   as grid.glsl */
#define W_CHUNK 32
#define QUANT_HAS_SCALES
#define W_TABLE 256u
#define W_BLOCK 11u

layout(std430, set = 0, binding = W_QUANTS_BINDING) readonly buffer w_quants_plane {
    uvec2 w_quants[];
};
#include "grid.glsl"

struct w_raw {
    uvec4 codes; // 4 of 3 bits in each half of a component
    uint signs;
    float k;
};

/* Entries 2i and 2i + 1 of low bytes q and ninth bits `high`. */
uint entries(uint q, uint high, uint i) {
    return grid_pair(((q >> 16u * i) & 255u) | (high << 8) & 256u,
                     ((q >> (16u * i + 8u)) & 255u) | (high << 7) & 256u);
}

w_raw w_load(uint row, uint chunk, uint n_chunk, uint n_scale) {
    uvec2 q = w_quants[row * n_chunk + chunk];
    uint at = block_at(row, chunk, n_scale), i = chunk % 8u;
    uint high = w_scales[at + i / 4u] >> 8u * (i % 4u);
    uint s = (w_scales[at + 10u] >> 4u * i) & 15u;
    uvec4 codes = uvec4(entries(q.x, high, 0u), entries(q.x, high >> 2, 1u),
                        entries(q.y, high >> 4, 0u), entries(q.y, high >> 6, 1u));
    float k = block_scale(row, chunk, n_scale) * float(1u + 2u * s);
    return w_raw(codes, w_scales[at + 2u + i], k);
}

vec4 w_four(w_raw raw, uint e) {
    uint entry = raw.codes[e / 8u] >> 16u * (e / 4u % 2u);
    uvec4 codes = (uvec4(entry) >> uvec4(0, 3, 6, 9)) & 7u;
    vec4 sizes = vec4(2u * codes + 1u);
    return with_signs(sizes, raw.signs >> e) * raw.k;
}
