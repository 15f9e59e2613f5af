/* quant_k.c: blocks of 256 elements: groups of 16 or 32 with a scale, perhaps an offset, in few
 * bits, which scales of the whole block multiply. */
#include "quant_bits.h"
#include "quant_family.h"

/* Where bytes hold several numbers of two bits or one, element 128h + 32j + r is in byte 32h + r,
 * number j: each group of 32 has its own shift. */

/* ---- scales of six bits ---------------------------------------------------------------------- */

/* Eight scales and eight offsets of Q4_K and Q5_K, from 12 bytes. */
static void six_bits(const uint8_t *bytes, uint8_t scales[8], uint8_t mins[8]) {
    for (uint32_t g = 0; g < 4; g++) {
        scales[g] = bytes[g] & 63;
        mins[g] = bytes[g + 4] & 63;
        scales[g + 4] = (uint8_t)((bytes[g + 8] & 15) | bytes[g] >> 6 << 4);
        mins[g + 4] = (uint8_t)(bytes[g + 8] >> 4 | bytes[g + 4] >> 6 << 4);
    }
}

/* Three words of the scales plane hold eight pairs of six bits: low halves of pair g in byte g % 4
 * of word g / 4, their upper bits in bits 4g to 4g + 3 of the last word. */
static void pack_six_bits(const uint8_t first[8], const uint8_t second[8], uint32_t words[3]) {
    uint32_t low[2] = {0, 0}, high = 0;
    for (uint32_t g = 0; g < 8; g++) {
        low[g / 4] |= ((first[g] & 15u) | (second[g] & 15u) << 4) << 8 * (g % 4);
        high |= ((uint32_t)first[g] >> 4 | (uint32_t)second[g] >> 4 << 2) << 4 * g;
    }
    words[0] = low[0];
    words[1] = low[1];
    words[2] = high;
}

/* ---- Q2_K ------------------------------------------------------------------------------------ */

/* Block of 84 bytes: 16 bytes with a scale and an offset of 16 elements, levels of two bits,
 * binary16 scale of scales and of offsets. */
void pm__decode_q2_k(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 256, row += 84, out += 256) {
        const float d = pm__load_half(row + 80), dmin = pm__load_half(row + 82);
        for (uint32_t e = 0; e < 256; e++) {
            const uint32_t q = row[16 + 32 * (e / 128) + e % 32] >> 2 * (e / 32 % 4) & 3;
            const uint32_t sc = row[e / 16];
            out[e] = d * (float)(sc & 15) * (float)q - dmin * (float)(sc >> 4);
        }
    }
}

void pm__pack_q2_k(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    for (uint32_t b = 0; b < n_col / 256; b++, row += 84) {
        for (uint32_t c = 0; c < 8; c++, quants += 2)
            pm__pack_pairs(row + 16 + 32 * (c / 4), 2 * (c % 4), quants);
        *scales++ = pm__load_u32(row + 80);
        for (uint32_t i = 0; i < 16; i += 4)
            *scales++ = pm__load_u32(row + i);
    }
}

/* ---- Q3_K ------------------------------------------------------------------------------------ */

/* Sixteen scales from 12 bytes, 32 more than they stand for. */
static void scales_q3_k(const uint8_t *bytes, uint8_t scales[16]) {
    for (uint32_t g = 0; g < 16; g++) {
        const uint32_t low = g < 8 ? bytes[g] & 15u : bytes[g - 8] >> 4;
        scales[g] = (uint8_t)(low | ((uint32_t)bytes[8 + g % 4] >> 2 * (g / 4) & 3u) << 4);
    }
}

/* Block of 110 bytes: 32 bytes of third bits, levels of two bits, 12 bytes of scales of 16
 * elements, binary16 scale. */
void pm__decode_q3_k(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 256, row += 110, out += 256) {
        const float d = pm__load_half(row + 108);
        uint8_t scales[16];
        scales_q3_k(row + 96, scales);
        for (uint32_t e = 0; e < 256; e++) {
            const uint32_t low = row[32 + 32 * (e / 128) + e % 32] >> 2 * (e / 32 % 4) & 3;
            const uint32_t third = row[e % 32] >> e / 32 & 1;
            out[e] = d * (float)(scales[e / 16] - 32) * (float)((int)(low | third << 2) - 4);
        }
    }
}

/* Pair g of the scales are those of the two halves of a chunk. */
void pm__pack_q3_k(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    for (uint32_t b = 0; b < n_col / 256; b++, row += 110, scales += 12) {
        uint8_t all[16], even[8], odd[8];
        scales_q3_k(row + 96, all);
        for (uint32_t c = 0; c < 8; c++, quants += 2) {
            even[c] = all[2 * c];
            odd[c] = all[2 * c + 1];
            pm__pack_pairs(row + 32 + 32 * (c / 4), 2 * (c % 4), quants);
            scales[4 + c] = pm__pack_bits(row, c);
        }
        scales[0] = pm__load_u16(row + 108);
        pack_six_bits(even, odd, scales + 1);
    }
}

/* ---- Q4_K ------------------------------------------------------------------------------------ */

/* Block of 144 bytes: binary16 scale of scales and of offsets, 12 bytes of scales and offsets of 32
 * elements, levels of four bits: groups 2c and 2c + 1 in the low and high halves of 32 bytes. */
void pm__decode_q4_k(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 256, row += 144, out += 256) {
        const float d = pm__load_half(row), dmin = pm__load_half(row + 2);
        uint8_t scales[8], mins[8];
        six_bits(row + 4, scales, mins);
        for (uint32_t e = 0; e < 256; e++) {
            const uint32_t g = e / 32, q = row[16 + 32 * (e / 64) + e % 32] >> 4 * (g % 2) & 15;
            out[e] = d * (float)scales[g] * (float)q - dmin * (float)mins[g];
        }
    }
}

static void pack_scales_q4_k(const uint8_t *row, uint32_t *words) {
    uint8_t scales[8], mins[8];
    six_bits(row + 4, scales, mins);
    words[0] = pm__load_u32(row);
    pack_six_bits(scales, mins, words + 1);
}

void pm__pack_q4_k(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    for (uint32_t b = 0; b < n_col / 256; b++, row += 144, scales += 4) {
        for (uint32_t g = 0; g < 8; g++, quants += 4)
            pm__pack_nibbles(row + 16 + 32 * (g / 2), 4 * (g % 2), quants);
        pack_scales_q4_k(row, scales);
    }
}

/* ---- Q5_K ------------------------------------------------------------------------------------ */

/* Block of 176 bytes: as Q4_K, with 32 bytes of fifth bits before the levels: bit g of byte r is
 * that of element 32g + r. */
void pm__decode_q5_k(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 256, row += 176, out += 256) {
        const float d = pm__load_half(row), dmin = pm__load_half(row + 2);
        uint8_t scales[8], mins[8];
        six_bits(row + 4, scales, mins);
        for (uint32_t e = 0; e < 256; e++) {
            const uint32_t g = e / 32, low = row[48 + 32 * (e / 64) + e % 32] >> 4 * (g % 2) & 15;
            const uint32_t q = low | ((uint32_t)row[16 + e % 32] >> g & 1u) << 4;
            out[e] = d * (float)scales[g] * (float)q - dmin * (float)mins[g];
        }
    }
}

void pm__pack_q5_k(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    for (uint32_t b = 0; b < n_col / 256; b++, row += 176, scales += 12) {
        for (uint32_t g = 0; g < 8; g++, quants += 4) {
            pm__pack_nibbles(row + 48 + 32 * (g / 2), 4 * (g % 2), quants);
            scales[4 + g] = pm__pack_bits(row + 16, g);
        }
        pack_scales_q4_k(row, scales);
    }
}

/* ---- Q6_K ------------------------------------------------------------------------------------ */

/* Block of 210 bytes: low halves of levels (elements 128h + r and 128h + 64 + r in byte 64h + r, r
 * < 64), upper two bits, 16 signed scales of 16 elements, binary16 scale. */
void pm__decode_q6_k(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 256, row += 210, out += 256) {
        const float d = pm__load_half(row + 208);
        for (uint32_t e = 0; e < 256; e++) {
            const uint32_t low = row[64 * (e / 128) + e % 64] >> 4 * (e / 64 % 2) & 15;
            const uint32_t high = row[128 + 32 * (e / 128) + e % 32] >> 2 * (e / 32 % 4) & 3;
            out[e] = d * (float)(int8_t)row[192 + e / 16] * (float)((int)(low | high << 4) - 32);
        }
    }
}

void pm__pack_q6_k(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    for (uint32_t b = 0; b < n_col / 256; b++, row += 210, scales += 21) {
        for (uint32_t c = 0; c < 8; c++, quants += 4) {
            pm__pack_nibbles(row + 64 * (c / 4) + 32 * (c % 2), 4 * (c / 2 % 2), quants);
            pm__pack_pairs(row + 128 + 32 * (c / 4), 2 * (c % 4), scales + 2 * c);
        }
        for (uint32_t i = 0; i < 4; i++)
            scales[16 + i] = pm__load_u32(row + 192 + 4 * i);
        scales[20] = pm__load_u16(row + 208);
    }
}

/* ---- Q8_K ------------------------------------------------------------------------------------ */

/* Block of 292 bytes: binary32 scale, 256 signed bytes, sixteen sums that the levels give too. */
void pm__decode_q8_k(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 256, row += 292) {
        const float d = pm__float_from_bits(pm__load_u32(row));
        for (uint32_t i = 0; i < 256; i++)
            out[first + i] = d * (float)(int8_t)row[4 + i];
    }
}
