/* quant_iq1_s.glsl: reads rows of IQ1_S weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: the bindings of the two planes
 * chunk   uint of 32 elements: bytes are the low 8 bits of the grid entries of 8 elements each
 * scales  groups of grid.glsl: 16 bits for each chunk of the block: four times 3 more bits of an
 *         entry from bit 0 on, a 3-bit scale, and in bit 15 the sign of the shift
 * exact   as grid.glsl */
#define W_CHUNK 32
#define QUANT_HAS_SCALES
#define W_TABLE 1024u
#define W_BLOCK 4u

layout(std430, set = 0, binding = W_QUANTS_BINDING) readonly buffer w_quants_plane {
    uint w_quants[];
};
#include "grid.glsl"

struct w_raw {
    uvec2 codes; // 16 of 2 bits a component
    float shift;
    float k;
};

w_raw w_load(uint row, uint chunk, uint n_chunk, uint n_scale) {
    uint q = w_quants[row * n_chunk + chunk];
    uint h = w_scales[block_at(row, chunk, n_scale) + chunk % 8u / 2u] >> 16u * (chunk % 2u);
    uvec4 entries = ((uvec4(q) >> uvec4(0, 8, 16, 24)) & 255u) |
                    ((uvec4(h) >> uvec4(0, 3, 6, 9)) & 7u) << 8;
    uvec2 codes = uvec2(grid_pair(entries.x, entries.y), grid_pair(entries.z, entries.w));
    float k = block_scale(row, chunk, n_scale) * float(2u * ((h >> 12) & 7u) + 1u);
    return w_raw(codes, (h & 0x8000u) != 0u ? -1.125 : -0.875, k);
}

vec4 w_four(w_raw raw, uint e) {
    uvec4 codes = (uvec4(raw.codes[e / 16u] >> 2u * (e % 16u)) >> uvec4(0, 2, 4, 6)) & 3u;
    return (vec4(codes) + raw.shift) * raw.k;
}
