/* quant_bits.glsl: takes four small numbers, from the eth on, out of what a chunk of 32 holds; e is
 * a multiple of 4
 * w_nibbles  of four bits: number 4k + i in bits 8i to 8i + 3 of component k, number 16 + 4k + i in
 *            the four bits above
 * w_pairs    of two bits: number e in bits 2 (e % 16) of component e / 16
 * w_bits     of one bit: number e in bit e
 * w_nibble_bytes, w_pair_bytes, w_bit_bytes  the same four, each in a byte
 * w_half     a binary16 of a word that has two; a device may flush subnormal ones (below 6.1e-5)
 * w_sixes    of three words with eight pairs of six bits, pair g: low halves in byte g % 4 of
 *            component g / 4, upper two bits of both in bits 4g to 4g + 3 of the last */
#ifndef QUANT_BITS_GLSL
#define QUANT_BITS_GLSL

uvec4 w_nibbles(uvec4 q, uint e) {
    return (uvec4(q[(e % 16u) / 4u] >> (e < 16u ? 0u : 4u)) >> uvec4(0u, 8u, 16u, 24u)) & 15u;
}

uvec4 w_pairs(uvec2 q, uint e) {
    return (uvec4(q[e / 16u] >> 2u * (e % 16u)) >> uvec4(0u, 2u, 4u, 6u)) & 3u;
}

uvec4 w_bits(uint q, uint e) {
    return (uvec4(q >> e) >> uvec4(0u, 1u, 2u, 3u)) & 1u;
}

uint w_nibble_bytes(uvec4 q, uint e) {
    return (q[(e % 16u) / 4u] >> (e < 16u ? 0u : 4u)) & 0x0f0f0f0fu;
}

uint w_pair_bytes(uvec2 q, uint e) {
    uint four = (q[e / 16u] >> 2u * (e % 16u)) & 255u;
    return (four | four << 6 | four << 12 | four << 18) & 0x03030303u;
}

uint w_bit_bytes(uint q, uint e) {
    return (((q >> e) & 15u) * 0x00204081u) & 0x01010101u;
}

float w_half(uint pair, uint odd) {
    return unpackHalf2x16(odd == 0u ? pair : pair >> 16).x;
}

vec2 w_sixes(uvec3 words, uint g) {
    uint low = (g < 4u ? words.x : words.y) >> 8u * (g % 4u), high = words.z >> 4u * g;
    return vec2((low & 15u) | (high & 3u) << 4, (low >> 4 & 15u) | (high & 12u) << 2);
}

#endif
