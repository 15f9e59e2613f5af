/* quant_classic.c: blocks of 32 elements with one scale, or a scale and an offset. */
#include "quant_family.h"

/* Block of 34 bytes: binary16 scale, 32 signed bytes. */
void pm__decode_q8_0(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 32, row += 34) {
        const float d = pm__f16_to_f32(pm__load_u16(row));
        for (uint32_t i = 0; i < 32; i++)
            out[first + i] = (float)(int8_t)row[2 + i] * d;
    }
}

/* A chunk is half a block: component k holds element 4k + i in bits 8i to 8i + 7, signed. */
void pm__pack_q8_0(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pm__pack_bytes(row + 2, n_col / 32, 34, 32, quants);
    pm__pack_halves(row, n_col / 32, 34, scales);
}

/* Block of 18 bytes: binary16 scale, 16 bytes; low nibbles are elements 0 to 15, high ones 16
 * to 31. */
void pm__decode_q4_0(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 32, row += 18) {
        const float d = pm__f16_to_f32(pm__load_u16(row));
        for (uint32_t i = 0; i < 16; i++) {
            out[first + i] = (float)((row[2 + i] & 15) - 8) * d;
            out[first + 16 + i] = (float)((row[2 + i] >> 4) - 8) * d;
        }
    }
}

/* A chunk is a block: component k holds element 4k + i in bits 8i to 8i + 3 and element 16 + 4k + i
 * in bits 8i + 4 to 8i + 7, each 8 more than its level. */
void pm__pack_q4_0(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pm__pack_bytes(row + 2, n_col / 32, 18, 16, quants);
    pm__pack_halves(row, n_col / 32, 18, scales);
}

/* Block of 36 bytes: binary16 scale, a sum that the levels give too, 32 signed bytes. */
void pm__decode_q8_1(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 32, row += 36) {
        const float d = pm__f16_to_f32(pm__load_u16(row));
        for (uint32_t i = 0; i < 32; i++)
            out[first + i] = (float)(int8_t)row[4 + i] * d;
    }
}
