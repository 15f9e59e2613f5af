/* quant_classic.c: blocks of 32 elements with one scale, or a scale and an offset. */
#include "quant_family.h"

/* Block of 34 bytes: binary16 scale, 32 signed bytes. */
void pm__decode_q8_0(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 32, row += 34) {
        const float d = pm__load_half(row);
        for (uint32_t i = 0; i < 32; i++)
            out[first + i] = (float)(int8_t)row[2 + i] * d;
    }
}

void pm__pack_q8_0(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pm__pack_bytes(row + 2, n_col / 32, 34, 32, quants);
    pm__pack_halves(row, n_col / 32, 34, scales);
}

/* Block of 18 bytes: binary16 scale, 16 bytes; low nibbles are elements 0 to 15, high ones 16
 * to 31. */
void pm__decode_q4_0(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 32, row += 18) {
        const float d = pm__load_half(row);
        for (uint32_t i = 0; i < 16; i++) {
            out[first + i] = (float)((row[2 + i] & 15) - 8) * d;
            out[first + 16 + i] = (float)((row[2 + i] >> 4) - 8) * d;
        }
    }
}

void pm__pack_q4_0(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pm__pack_bytes(row + 2, n_col / 32, 18, 16, quants);
    pm__pack_halves(row, n_col / 32, 18, scales);
}

/* Block of 20 bytes: binary16 scale and offset, 16 bytes as in Q4_0. */
void pm__decode_q4_1(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 32, row += 20) {
        const float d = pm__load_half(row), m = pm__load_half(row + 2);
        for (uint32_t i = 0; i < 16; i++) {
            out[first + i] = (float)(row[4 + i] & 15) * d + m;
            out[first + 16 + i] = (float)(row[4 + i] >> 4) * d + m;
        }
    }
}

void pm__pack_q4_1(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pm__pack_bytes(row + 4, n_col / 32, 20, 16, quants);
    pm__pack_bytes(row, n_col / 32, 20, 4, scales);
}

/* Level e of 32: four bits as in Q4_0, and bit e of a word. */
static float level_of_five(const uint8_t *nibbles, uint32_t fifths, uint32_t e) {
    const uint32_t low = e < 16 ? nibbles[e] & 15u : nibbles[e - 16] >> 4;
    return (float)(low | (fifths >> e & 1) << 4);
}

/* Block of 22 bytes: binary16 scale, 32 fifth bits, 16 bytes. */
void pm__decode_q5_0(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 32, row += 22) {
        const float d = pm__load_half(row);
        for (uint32_t i = 0; i < 32; i++)
            out[first + i] = (level_of_five(row + 6, pm__load_u32(row + 2), i) - 16.0f) * d;
    }
}

void pm__pack_q5_0(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    const uint32_t n_block = n_col / 32;
    pm__pack_bytes(row + 6, n_block, 22, 16, quants);
    for (uint32_t b = 0; b < n_block; b += 2, row += 44, scales += 3) {
        const bool two = b + 1 < n_block;
        scales[0] = pm__load_u32(row + 2);
        scales[1] = two ? pm__load_u32(row + 24) : 0;
        scales[2] = pm__load_u16(row) | (two ? (uint32_t)pm__load_u16(row + 22) << 16 : 0);
    }
}

/* Block of 24 bytes: binary16 scale and offset, 32 fifth bits, 16 bytes. */
void pm__decode_q5_1(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 32, row += 24) {
        const float d = pm__load_half(row), m = pm__load_half(row + 2);
        for (uint32_t i = 0; i < 32; i++)
            out[first + i] = level_of_five(row + 8, pm__load_u32(row + 4), i) * d + m;
    }
}

void pm__pack_q5_1(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pm__pack_bytes(row + 8, n_col / 32, 24, 16, quants);
    pm__pack_bytes(row, n_col / 32, 24, 8, scales);
}

/* Block of 36 bytes: binary16 scale, a sum that the levels give too, 32 signed bytes. */
void pm__decode_q8_1(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 32, row += 36) {
        const float d = pm__load_half(row);
        for (uint32_t i = 0; i < 32; i++)
            out[first + i] = (float)(int8_t)row[4 + i] * d;
    }
}
