/* quant_iq.c: blocks of 256 elements whose levels are entries of a grid: 8 elements an entry (IQ1,
 * IQ2) or 4 (IQ3). */
#include "quant_iq.h"

#include "quant_family.h"

enum { BLOCK_N = 256 };

/* Entry i of a grid. */
static uint32_t entry_of(const uint32_t *grid, uint32_t i) {
    return grid[i / 2] >> 16 * (i % 2) & 0xffff;
}

/* Bit 7 of eight signs whose first seven are `code`: their number is even. */
static uint32_t even_signs(uint32_t code) {
    uint32_t odd = code ^ code >> 4;
    odd ^= odd >> 2;
    odd ^= odd >> 1;
    return code | (odd & 1) << 7;
}

static float with_sign(float x, uint32_t minus) {
    return (minus & 1) != 0 ? -x : x;
}

/* ---- IQ2: eight elements of sizes 8, 25, 43 -------------------------------------------------- */

static void decode_eight(uint32_t entry, uint32_t signs, float k, float *out) {
    static const float sizes[4] = {8.0f, 25.0f, 43.0f};
    for (uint32_t i = 0; i < 8; i++)
        out[i] = k * with_sign(sizes[entry >> 2 * i & 3], signs >> i);
}

static float scale_iq2(float d, uint32_t s) {
    return d * (0.5f + (float)s) * 0.25f;
}

/* Block of 66 bytes: binary16 scale; for 32 elements each four bytes of indices and a word of four
 * times 7 signs and a 4-bit scale. */
void pm__decode_iq2_xxs(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += BLOCK_N, row += 66) {
        const float d = pm__load_half(row);
        for (uint32_t k = 0; k < 32; k++, out += 8) {
            const uint8_t *at = row + 2 + k / 4 * 8;
            const uint32_t word = pm__load_u32(at + 4);
            decode_eight(entry_of(pm__grid_iq2_xxs, at[k % 4]),
                         even_signs(word >> 7 * (k % 4) & 127), scale_iq2(d, word >> 28), out);
        }
    }
}

/* Block of 74 bytes: binary16 scale; for 8 elements each 9 bits of index and 7 signs; for 16 each a
 * 4-bit scale. */
void pm__decode_iq2_xs(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += BLOCK_N, row += 74) {
        const float d = pm__load_half(row);
        for (uint32_t k = 0; k < 32; k++, out += 8) {
            const uint32_t q = pm__load_u16(row + 2 + 2 * k);
            const uint32_t s = (uint32_t)row[66 + k / 4] >> 4 * (k / 2 % 2) & 15;
            decode_eight(entry_of(pm__grid_iq2_xs, q & 511), even_signs(q >> 9), scale_iq2(d, s),
                         out);
        }
    }
}

/* Block of 82 bytes: binary16 scale; for 8 elements each a byte of index, then a byte of signs,
 * then 2 more bits of index; for 16 each a 4-bit scale. */
void pm__decode_iq2_s(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += BLOCK_N, row += 82) {
        const float d = pm__load_half(row);
        for (uint32_t k = 0; k < 32; k++, out += 8) {
            const uint32_t high = (uint32_t)row[66 + k / 4] >> 2 * (k % 4) & 3;
            const uint32_t s = (uint32_t)row[74 + k / 4] >> 4 * (k / 2 % 2) & 15;
            decode_eight(entry_of(pm__grid_iq2_s, row[2 + k] | high << 8), row[34 + k],
                         scale_iq2(d, s), out);
        }
    }
}

/* ---- IQ3: four elements of eight sizes ------------------------------------------------------- */

/* Block of 98 bytes: binary16 scale; for 4 elements each a byte of index; for 32 each a word as of
 * IQ2_XXS. */
void pm__decode_iq3_xxs(const uint8_t *row, uint32_t n_col, float *out) {
    static const float sizes[8] = {4.0f, 12.0f, 20.0f, 28.0f, 36.0f, 44.0f, 52.0f, 62.0f};
    for (uint32_t first = 0; first < n_col; first += BLOCK_N, row += 98) {
        const float d = pm__load_half(row);
        for (uint32_t e = 0; e < BLOCK_N; e++) {
            const uint32_t word = pm__load_u32(row + 66 + e / 32 * 4);
            const uint32_t signs = even_signs(word >> 7 * (e / 8 % 4) & 127);
            const uint32_t code = entry_of(pm__grid_iq3_xxs, row[2 + e / 4]) >> 3 * (e % 4) & 7;
            const float k = d * (0.5f + (float)(word >> 28)) * 0.5f;
            *out++ = k * with_sign(sizes[code], signs >> e % 8);
        }
    }
}

/* Block of 110 bytes: binary16 scale; for 4 elements each a byte of index, then a ninth bit of it;
 * 8 signs a byte; for 32 elements each a 4-bit scale. */
void pm__decode_iq3_s(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += BLOCK_N, row += 110) {
        const float d = pm__load_half(row);
        for (uint32_t e = 0; e < BLOCK_N; e++) {
            const uint32_t high = (uint32_t)row[66 + e / 32] >> e / 4 % 8 & 1;
            const uint32_t index = row[2 + e / 4] | high << 8;
            const uint32_t code = entry_of(pm__grid_iq3_s, index) >> 3 * (e % 4) & 7;
            const uint32_t s = (uint32_t)row[106 + e / 64] >> 4 * (e / 32 % 2) & 15;
            *out++ = d * (float)(1 + 2 * s) *
                     with_sign((float)(2 * code + 1), (uint32_t)row[74 + e / 8] >> e % 8);
        }
    }
}

/* ---- IQ1: eight elements of -1, 0, 1, all shifted by an eighth ------------------------------- */

static void decode_shifted(uint32_t entry, uint32_t down, float k, float *out) {
    const float shift = (down & 1) != 0 ? -0.125f : 0.125f;
    for (uint32_t i = 0; i < 8; i++)
        out[i] = k * ((float)((int)(entry >> 2 * i & 3) - 1) + shift);
}

/* Block of 50 bytes: binary16 scale; for 8 elements each a byte of index; for 32 each four times 3
 * more bits of index, a 3-bit scale and the shift's sign. */
void pm__decode_iq1_s(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += BLOCK_N, row += 50) {
        const float d = pm__load_half(row);
        for (uint32_t k = 0; k < 32; k++, out += 8) {
            const uint32_t h = pm__load_u16(row + 34 + k / 4 * 2);
            const uint32_t index = row[2 + k] | (h >> 3 * (k % 4) & 7) << 8;
            decode_shifted(entry_of(pm__grid_iq1, index), h >> 15,
                           d * (float)(2 * (h >> 12 & 7) + 1), out);
        }
    }
}

/* Block of 56 bytes: for 8 elements each a byte of index, then 3 more bits of it and the shift's
 * sign; four 16-bit words, each of four 3-bit scales for 16 elements and a quarter of the binary16
 * scale. */
void pm__decode_iq1_m(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += BLOCK_N, row += 56) {
        uint32_t half = 0;
        for (uint32_t i = 0; i < 4; i++)
            half |= ((uint32_t)pm__load_u16(row + 48 + 2 * i) >> 12) << 4 * i;
        const float d = pm__f16_to_f32((uint16_t)half);
        for (uint32_t k = 0; k < 32; k++, out += 8) {
            const uint32_t high = (uint32_t)row[32 + k / 2] >> 4 * (k % 2) & 15;
            const uint32_t s = (uint32_t)pm__load_u16(row + 48 + k / 8 * 2) >> 3 * (k / 2 % 4) & 7;
            decode_shifted(entry_of(pm__grid_iq1, row[k] | (high & 7) << 8), high >> 3,
                           d * (float)(2 * s + 1), out);
        }
    }
}

void pm__put_scale_iq1_m(uint16_t half, uint8_t *block) {
    for (uint32_t i = 0; i < 4; i++) {
        uint8_t *high = block + 48 + 2 * i + 1;
        *high = (uint8_t)((*high & 15) | (half >> 4 * i & 15) << 4);
    }
}

/* ---- packing --------------------------------------------------------------------------------- */

/* The scales plane: for two blocks each the n_byte bytes at `from` of the first, those of the
 * second (zeros where there is none), and a word with the binary16 scales of both. */
static void pack_pairs(const uint8_t *row, uint32_t n_block, size_t stride, uint32_t from,
                       uint32_t n_byte, uint32_t *scales) {
    for (uint32_t b = 0; b < n_block; b += 2, row += 2 * stride) {
        const uint32_t n = n_block - b < 2 ? 1 : 2;
        pm__pack_bytes(row + from, n, stride, n_byte, scales);
        memset(scales + n * n_byte / 4, 0, (2 - n) * n_byte);
        scales += n_byte / 2;
        pm__pack_halves(row, n, stride, scales++);
    }
}

void pm__pack_iq2_xxs(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pm__pack_bytes(row + 2, n_col / BLOCK_N, 66, 64, quants);
    pack_pairs(row, n_col / BLOCK_N, 66, 0, 0, scales);
}

void pm__pack_iq2_xs(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pm__pack_bytes(row + 2, n_col / BLOCK_N, 74, 64, quants);
    pack_pairs(row, n_col / BLOCK_N, 74, 66, 8, scales);
}

/* A chunk: a word of indices, a word of signs. */
void pm__pack_iq2_s(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    for (uint32_t chunk = 0; chunk < n_col / 32; chunk++) {
        const uint8_t *at = row + (size_t)chunk / 8 * 82 + 2 + chunk % 8 * 4;
        *quants++ = pm__load_u32(at);
        *quants++ = pm__load_u32(at + 32);
    }
    pack_pairs(row, n_col / BLOCK_N, 82, 66, 16, scales);
}

void pm__pack_iq3_xxs(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pm__pack_bytes(row + 2, n_col / BLOCK_N, 98, 64, quants);
    pack_pairs(row, n_col / BLOCK_N, 98, 66, 32, scales);
}

void pm__pack_iq3_s(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pm__pack_bytes(row + 2, n_col / BLOCK_N, 110, 64, quants);
    pack_pairs(row, n_col / BLOCK_N, 110, 66, 44, scales);
}

void pm__pack_iq1_s(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pm__pack_bytes(row + 2, n_col / BLOCK_N, 50, 32, quants);
    pack_pairs(row, n_col / BLOCK_N, 50, 34, 16, scales);
}

void pm__pack_iq1_m(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pm__pack_bytes(row, n_col / BLOCK_N, 56, 32, quants);
    pm__pack_bytes(row + 32, n_col / BLOCK_N, 56, 24, scales);
}

const uint32_t *pm__type_table(pm__type type, uint32_t *n) {
    static const struct {
        const uint32_t *words;
        uint32_t n;
    } tables[PM__TYPE_COUNT] = {
        [PM__TYPE_IQ1_S] = {pm__grid_iq1, PM__COUNT(pm__grid_iq1)},
        [PM__TYPE_IQ1_M] = {pm__grid_iq1, PM__COUNT(pm__grid_iq1)},
        [PM__TYPE_IQ2_XXS] = {pm__grid_iq2_xxs, PM__COUNT(pm__grid_iq2_xxs)},
        [PM__TYPE_IQ2_XS] = {pm__grid_iq2_xs, PM__COUNT(pm__grid_iq2_xs)},
        [PM__TYPE_IQ2_S] = {pm__grid_iq2_s, PM__COUNT(pm__grid_iq2_s)},
        [PM__TYPE_IQ3_XXS] = {pm__grid_iq3_xxs, PM__COUNT(pm__grid_iq3_xxs)},
        [PM__TYPE_IQ3_S] = {pm__grid_iq3_s, PM__COUNT(pm__grid_iq3_s)},
    };
    *n = tables[type].n;
    return tables[type].words;
}
