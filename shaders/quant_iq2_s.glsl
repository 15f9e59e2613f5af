/* quant_iq2_s.glsl: reads rows of IQ2_S weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: the bindings of the two planes
 * chunk   uvec2 of 32 elements: bytes of x are the low 8 bits of the grid entries of 8 elements
 *         each; y has a sign an element
 * scales  groups of grid.glsl: a byte for each chunk of the block with 2 more bits for each of its
 *         entries; then a byte for each with a 4-bit scale for its first 16 elements below that
 *         for the others
 * exact   as grid.glsl */
#define W_CHUNK 32
#define QUANT_HAS_SCALES
#define W_TABLE 512u
#define W_BLOCK 4u

layout(std430, set = 0, binding = W_QUANTS_BINDING) readonly buffer w_quants_plane {
    uvec2 w_quants[];
};
#include "grid.glsl"

struct w_raw {
    uvec2 codes; // 16 of 2 bits a component
    uint signs;
    vec2 k; // of the first 16 elements and the others
};

w_raw w_load(uint row, uint chunk, uint n_chunk, uint n_scale) {
    uvec2 q = w_quants[row * n_chunk + chunk];
    uint at = block_at(row, chunk, n_scale) + chunk % 8u / 4u;
    uint high = w_scales[at] >> 8u * (chunk % 4u), s = w_scales[at + 2u] >> 8u * (chunk % 4u);
    uvec4 entries = ((uvec4(q.x) >> uvec4(0, 8, 16, 24)) & 255u) |
                    ((uvec4(high) >> uvec4(0, 2, 4, 6)) & 3u) << 8;
    uvec2 codes = uvec2(grid_pair(entries.x, entries.y), grid_pair(entries.z, entries.w));
    vec2 k = block_scale(row, chunk, n_scale) * (0.5 + vec2(s & 15u, (s >> 4) & 15u)) * 0.25;
    return w_raw(codes, q.y, k);
}

vec4 w_four(w_raw raw, uint e) {
    uvec4 codes = (uvec4(raw.codes[e / 16u] >> 2u * (e % 16u)) >> uvec4(0, 2, 4, 6)) & 3u;
    vec4 c = vec4(codes);
    vec4 sizes = (c * 0.5 + 16.5) * c + 8.0; // 8, 25, 43
    return with_signs(sizes, raw.signs >> e) * raw.k[e / 16u];
}
