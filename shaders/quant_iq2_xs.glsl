/* quant_iq2_xs.glsl: reads rows of IQ2_XS weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: the bindings of the two planes
 * chunk   uvec2 of 32 elements: four times 16 bits, from the low ones of x on, for 8 elements each:
 *         9 bits of grid entry, 7 signs
 * scales  groups of grid.glsl: a byte for each chunk of the block, a 4-bit scale for its first 16
 *         elements below that for the others
 * exact   as grid.glsl */
#define W_CHUNK 32
#define QUANT_HAS_SCALES
#define W_TABLE 256u
#define W_BLOCK 2u

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
    uint s = w_scales[block_at(row, chunk, n_scale) + chunk % 8u / 4u] >> 8u * (chunk % 4u);
    uvec2 codes = uvec2(grid_pair(q.x & 511u, (q.x >> 16) & 511u),
                        grid_pair(q.y & 511u, (q.y >> 16) & 511u));
    uvec2 pairs = ((q >> 9) & 127u) | (q >> 25) << 7;
    vec2 k = block_scale(row, chunk, n_scale) * (0.5 + vec2(s & 15u, (s >> 4) & 15u)) * 0.25;
    return w_raw(codes, even_signs(pairs.x | pairs.y << 14), k);
}

vec4 w_four(w_raw raw, uint e) {
    uvec4 codes = (uvec4(raw.codes[e / 16u] >> 2u * (e % 16u)) >> uvec4(0, 2, 4, 6)) & 3u;
    vec4 c = vec4(codes);
    vec4 sizes = (c * 0.5 + 16.5) * c + 8.0; // 8, 25, 43
    return with_signs(sizes, raw.signs >> e) * raw.k[e / 16u];
}
