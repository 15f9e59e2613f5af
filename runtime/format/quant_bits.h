/* quant_bits.h: orders of small numbers in the quants plane, as shaders/quant_bits.glsl takes them
 * out again.
 *
 *   nibbles  32 of four bits in 4 words: word k has number 4k + i in bits 8i to 8i + 3, number
 *            16 + 4k + i above it
 *   pairs    32 of two bits in 2 words: number e in bits 2 (e % 16) of word e / 16
 *   bits     32 of one bit in a word: number e in bit e */
#ifndef PM_FORMAT_QUANT_BITS_H
#define PM_FORMAT_QUANT_BITS_H

#include "bytes.h"

/* Of the low (shift 0) or high (shift 4) halves of 32 bytes. */
static inline void pm__pack_nibbles(const uint8_t *bytes, uint32_t shift, uint32_t *words) {
    for (uint32_t k = 0; k < 4; k++) {
        const uint32_t low = pm__load_u32(bytes + 4 * k) >> shift & 0x0f0f0f0f;
        const uint32_t high = pm__load_u32(bytes + 16 + 4 * k) >> shift & 0x0f0f0f0f;
        words[k] = low | high << 4;
    }
}

/* Of bits shift and shift + 1 of 32 bytes. The product brings what is in four bytes together in the
 * highest. */
static inline void pm__pack_pairs(const uint8_t *bytes, uint32_t shift, uint32_t *words) {
    for (uint32_t k = 0; k < 2; k++, bytes += 16) {
        uint32_t word = 0;
        for (uint32_t j = 0; j < 4; j++) {
            const uint32_t four = pm__load_u32(bytes + 4 * j) >> shift & 0x03030303;
            word |= (four * 0x01041040u >> 24) << 8 * j;
        }
        words[k] = word;
    }
}

/* Of a bit of 32 bytes. */
static inline uint32_t pm__pack_bits(const uint8_t *bytes, uint32_t shift) {
    uint32_t word = 0;
    for (uint32_t j = 0; j < 8; j++) {
        const uint32_t four = pm__load_u32(bytes + 4 * j) >> shift & 0x01010101;
        word |= (four * 0x10204080u >> 28) << 4 * j;
    }
    return word;
}

#endif
