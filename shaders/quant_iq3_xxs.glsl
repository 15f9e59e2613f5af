/* quant_iq3_xxs.glsl: reads rows of IQ3_XXS weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: the bindings of the two planes
 * chunk   uvec2 of 32 elements: bytes are the grid entries of 4 elements each
 * scales  groups of grid.glsl: a word for each chunk of the block with four times 7 signs from bit
 *         0 on, and a 4-bit scale in bits 28 to 31
 * exact   as grid.glsl */
#define W_CHUNK 32
#define QUANT_HAS_SCALES
#define W_TABLE 128u
#define W_BLOCK 8u

layout(std430, set = 0, binding = W_QUANTS_BINDING) readonly buffer w_quants_plane {
    uvec2 w_quants[];
};
#include "grid.glsl"

struct w_raw {
    uvec4 codes; // 4 of 3 bits in each half of a component
    uint signs;
    float k;
};

w_raw w_load(uint row, uint chunk, uint n_chunk, uint n_scale) {
    uvec2 q = w_quants[row * n_chunk + chunk];
    uint word = w_scales[block_at(row, chunk, n_scale) + chunk % 8u];
    uvec4 codes = uvec4(grid_pair(q.x & 255u, (q.x >> 8) & 255u),
                        grid_pair((q.x >> 16) & 255u, q.x >> 24),
                        grid_pair(q.y & 255u, (q.y >> 8) & 255u),
                        grid_pair((q.y >> 16) & 255u, q.y >> 24));
    float k = block_scale(row, chunk, n_scale) * (0.5 + float(word >> 28)) * 0.5;
    return w_raw(codes, even_signs(word), k);
}

vec4 w_four(w_raw raw, uint e) {
    uint entry = raw.codes[e / 8u] >> 16u * (e / 4u % 2u);
    uvec4 codes = (uvec4(entry) >> uvec4(0, 3, 6, 9)) & 7u;
    vec4 sizes = vec4(4u + 8u * codes + 2u * (codes / 7u)); // 4, 12, ... 52, 62
    return with_signs(sizes, raw.signs >> e) * raw.k;
}
