/* grid.glsl: what the readers of IQ1, IQ2 and IQ3 weights share. The scales plane begins with the
 * words of the type's grid (pm__type_table), two entries of 16 bits a word; the rows follow.
 * before  W_SCALES_BINDING, the binding of the scales plane; W_TABLE, words of the grid; W_BLOCK,
 *         words of a block besides its scale
 * group   two blocks of 256 elements: W_BLOCK words of the first, those of the second, and their
 *         binary16 scales, that of the first below
 * exact   except for subnormal scales (below 6.1e-5), which a device may flush to zero in
 *         unpackHalf2x16 */
layout(std430, set = 0, binding = W_SCALES_BINDING) readonly buffer w_scales_plane {
    uint w_scales[];
};

uint grid_entry(uint i) {
    return (w_scales[i / 2u] >> 16u * (i & 1u)) & 0xffffu;
}

/* Entries i and j, j above. */
uint grid_pair(uint i, uint j) {
    return grid_entry(i) | grid_entry(j) << 16;
}

/* First word of the block that holds a chunk of 32 elements. */
uint block_at(uint row, uint chunk, uint n_scale) {
    return W_TABLE + row * n_scale + chunk / 16u * (2u * W_BLOCK + 1u) + chunk / 8u % 2u * W_BLOCK;
}

float block_scale(uint row, uint chunk, uint n_scale) {
    uint at = W_TABLE + row * n_scale + chunk / 16u * (2u * W_BLOCK + 1u) + 2u * W_BLOCK;
    vec2 pair = unpackHalf2x16(w_scales[at]);
    return (chunk & 8u) == 0u ? pair.x : pair.y;
}

/* Four times 7 signs in bits 0 to 27, each an eighth that makes their number even: 32 signs. */
uint even_signs(uint codes) {
    uint signs = 0u;
    for (int l = 0; l < 4; l++) {
        uint code = (codes >> 7 * l) & 127u;
        signs |= (code | (uint(bitCount(code)) & 1u) << 7) << 8 * l;
    }
    return signs;
}

/* v with the signs of bits 0 to 3. */
vec4 with_signs(vec4 v, uint signs) {
    uvec4 bits = uvec4(signs << 31, signs << 30, signs << 29, signs << 28);
    return uintBitsToFloat(floatBitsToUint(v) ^ (bits & 0x80000000u));
}
