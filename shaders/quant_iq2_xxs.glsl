/* quant_iq2_xxs.glsl: reads rows of IQ2_XXS weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: the bindings of the two planes
 * chunk   uvec2 of 32 elements: bytes of x are the grid entries of 8 elements each; y has four
 *         times 7 signs from bit 0 on, and a 4-bit scale in bits 28 to 31
 * scales  groups of grid.glsl with no words of a block
 * exact   as grid.glsl */
#define W_CHUNK 32
#define QUANT_HAS_SCALES
#define W_TABLE 128u
#define W_BLOCK 0u

layout(std430, set = 0, binding = W_QUANTS_BINDING) readonly buffer w_quants_plane {
    uvec2 w_quants[];
};
#include "grid.glsl"

struct w_raw {
    uvec2 codes; // 16 of 2 bits a component
    uint signs;
    float k;
};

w_raw w_load(uint row, uint chunk, uint n_chunk, uint n_scale) {
    uvec2 q = w_quants[row * n_chunk + chunk];
    uvec2 codes = uvec2(grid_pair(q.x & 255u, (q.x >> 8) & 255u),
                        grid_pair((q.x >> 16) & 255u, q.x >> 24));
    float k = block_scale(row, chunk, n_scale) * (0.5 + float(q.y >> 28)) * 0.25;
    return w_raw(codes, even_signs(q.y), k);
}

vec4 w_four(w_raw raw, uint e) {
    uvec4 codes = (uvec4(raw.codes[e / 16u] >> 2u * (e % 16u)) >> uvec4(0, 2, 4, 6)) & 3u;
    vec4 c = vec4(codes);
    vec4 sizes = (c * 0.5 + 16.5) * c + 8.0; // 8, 25, 43
    return with_signs(sizes, raw.signs >> e) * raw.k;
}
