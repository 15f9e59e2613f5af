/* quant_family.h: what the files of tensor types share; each holds a family of them.
 *
 * pm__decode_<name>  row of n_col elements, whole blocks, to f32
 * pm__pack_<name>    the same row to planes: each word of both written once, none read. Bytes count
 *                    from the lowest of a word. shaders/quant_<name>.glsl reads what it writes */
#ifndef PM_FORMAT_QUANT_FAMILY_H
#define PM_FORMAT_QUANT_FAMILY_H

#include "bytes.h"
#include "quant.h"

#include <string.h>

#define PM_QUANT(NAME, name, ...)                                                                  \
    void pm__decode_##name(const uint8_t *row, uint32_t n_col, float *out);                        \
    void pm__pack_##name(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales);
#define PM_QUANT_WIDE(NAME, name, ...)                                                             \
    void pm__decode_##name(const uint8_t *row, uint32_t n_col, float *out);
#include "quant.def"

static inline float pm__float_from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static inline uint32_t pm__bits_from_float(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* The binary16 at an address. */
static inline float pm__load_half(const uint8_t *at) {
    return pm__f16_to_f32(pm__load_u16(at));
}

/* What the levels of IQ4_NL and IQ4_XS stand for, and twice what those of MXFP4 and NVFP4 do. */
extern const int8_t pm__levels_nl[16], pm__levels_fp4[16];

/* n_byte bytes (even) in their order, zeros up to a multiple of 16. */
void pm__pack_plain(const uint8_t *bytes, size_t n_byte, uint32_t *words);
/* n_byte bytes (a multiple of 4, best a constant) of each of n_block blocks, which are `stride`
 * apart. */
static inline void pm__pack_bytes(const uint8_t *first, uint32_t n_block, size_t stride,
                                  uint32_t n_byte, uint32_t *words) {
    for (uint32_t b = 0; b < n_block; b++, first += stride)
        for (uint32_t i = 0; i < n_byte; i += 4)
            *words++ = pm__load_u32(first + i);
}
/* A binary16 of each of n_block blocks, which are `stride` apart: that of block b is the low (even
 * b) or high (odd b) half of word b / 2. */
void pm__pack_halves(const uint8_t *first, uint32_t n_block, size_t stride, uint32_t *words);

#endif
