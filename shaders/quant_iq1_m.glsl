/* quant_iq1_m.glsl: reads rows of IQ1_M weights as pm__type_pack lays them out (quant.h).
 * before  W_QUANTS_BINDING and W_SCALES_BINDING, defines: the bindings of the two planes
 * chunk   uint of 32 elements: bytes are the low 8 bits of the grid entries of 8 elements each
 * scales  six words a block: 16 bits for each chunk: for each entry 3 more bits of it and the sign
 *         of the shift; then two words of four times 16 bits, each with four 3-bit scales of 16
 *         elements from bit 0 on, and a quarter of the binary16 scale, the lowest first, in bits 12
 *         to 15
 * exact   as grid.glsl */
#define W_CHUNK 32
#define QUANT_HAS_SCALES
#define W_TABLE 1024u
#define W_BLOCK 6u

layout(std430, set = 0, binding = W_QUANTS_BINDING) readonly buffer w_quants_plane {
    uint w_quants[];
};
#include "grid.glsl"

struct w_raw {
    uvec2 codes; // 16 of 2 bits a component
    uint down;   // bit l: elements 8l to 8l + 7 are shifted down
    vec2 k;      // of the first 16 elements and the others
};

w_raw w_load(uint row, uint chunk, uint n_chunk, uint n_scale) {
    uint q = w_quants[row * n_chunk + chunk], i = chunk % 8u;
    uint at = W_TABLE + row * n_scale + chunk / 8u * W_BLOCK;
    uint h = w_scales[at + i / 2u] >> 16u * (i % 2u);
    uvec2 last = uvec2(w_scales[at + 4u], w_scales[at + 5u]);
    uvec4 quarters = uvec4(last.x >> 12, last.x >> 28, last.y >> 12, last.y >> 28) & 15u;
    uint bits = quarters.x | quarters.y << 4 | quarters.z << 8 | quarters.w << 12;
    uint s = last[i / 4u] >> (16u * (i / 2u % 2u) + 6u * (i % 2u));
    uvec4 high = uvec4(h) >> uvec4(0, 4, 8, 12);
    uvec4 entries = ((uvec4(q) >> uvec4(0, 8, 16, 24)) & 255u) | (high & 7u) << 8;
    uvec4 downs = ((high >> 3) & 1u) << uvec4(0, 1, 2, 3);
    uvec2 codes = uvec2(grid_pair(entries.x, entries.y), grid_pair(entries.z, entries.w));
    vec2 k = unpackHalf2x16(bits).x * vec2(2u * uvec2(s & 7u, (s >> 3) & 7u) + 1u);
    return w_raw(codes, downs.x | downs.y | downs.z | downs.w, k);
}

vec4 w_four(w_raw raw, uint e) {
    uvec4 codes = (uvec4(raw.codes[e / 16u] >> 2u * (e % 16u)) >> uvec4(0, 2, 4, 6)) & 3u;
    float shift = ((raw.down >> e / 8u) & 1u) != 0u ? -1.125 : -0.875;
    return (vec4(codes) + shift) * raw.k[e / 16u];
}
