/* quant_ternary.c: levels of one or two bits with one scale a block. */
#include "quant_bits.h"
#include "quant_family.h"

/* Digits of a byte that is a fraction to the base of 3, the first after the point first. */
static uint8_t digit_of(uint8_t byte, uint32_t place) {
    static const uint8_t powers[5] = {1, 3, 9, 27, 81};
    return (uint8_t)((uint8_t)(byte * powers[place]) * 3 >> 8);
}

/* Levels 0 to 2 of a block of TQ1_0: 160 in 32 bytes, 80 in 16, 16 in 4; the first digits of all
 * bytes of a part come first. */
static void levels_tq1_0(const uint8_t *block, uint8_t levels[256]) {
    for (uint32_t e = 0; e < 160; e++)
        levels[e] = digit_of(block[e % 32], e / 32);
    for (uint32_t e = 0; e < 80; e++)
        levels[160 + e] = digit_of(block[32 + e % 16], e / 16);
    for (uint32_t e = 0; e < 16; e++)
        levels[240 + e] = digit_of(block[48 + e % 4], e / 4);
}

/* Block of 54 bytes: 52 of digits, binary16 scale. */
void pm__decode_tq1_0(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 256, row += 54) {
        const float d = pm__load_half(row + 52);
        uint8_t levels[256];
        levels_tq1_0(row, levels);
        for (uint32_t e = 0; e < 256; e++)
            out[first + e] = (float)(levels[e] - 1) * d;
    }
}

/* As TQ2_0: a shader has the digits at once, for a quarter more memory. */
void pm__pack_tq1_0(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pm__pack_halves(row + 52, n_col / 256, 54, scales);
    for (uint32_t b = 0; b < n_col / 256; b++, row += 54) {
        uint8_t levels[256];
        levels_tq1_0(row, levels);
        for (uint32_t c = 0; c < 8; c++, quants += 2)
            pm__pack_pairs(levels + 32 * c, 0, quants);
    }
}

/* Block of 66 bytes: levels of two bits, element 128h + 32j + r in byte 32h + r, bits 2j and 2j +
 * 1; binary16 scale. */
void pm__decode_tq2_0(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 256, row += 66) {
        const float d = pm__load_half(row + 64);
        for (uint32_t e = 0; e < 256; e++) {
            const int q = row[32 * (e / 128) + e % 32] >> 2 * (e / 32 % 4) & 3;
            out[first + e] = (float)(q - 1) * d;
        }
    }
}

void pm__pack_tq2_0(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pm__pack_halves(row + 64, n_col / 256, 66, scales);
    for (uint32_t b = 0; b < n_col / 256; b++, row += 66)
        for (uint32_t c = 0; c < 8; c++, quants += 2)
            pm__pack_pairs(row + 32 * (c / 4), 2 * (c % 4), quants);
}

/* Block of 18 bytes: binary16 scale, 128 bits: its sign is set or not. */
void pm__decode_q1_0(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 128, row += 18) {
        const float d = pm__load_half(row);
        for (uint32_t e = 0; e < 128; e++)
            out[first + e] = (row[2 + e / 8] >> e % 8 & 1) != 0 ? d : -d;
    }
}

void pm__pack_q1_0(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pm__pack_bytes(row + 2, n_col / 128, 18, 16, quants);
    pm__pack_halves(row, n_col / 128, 18, scales);
}

/* Block of 18 bytes: binary16 scale, 64 levels of two bits, neighbours in a byte. */
void pm__decode_q2_0(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 64, row += 18) {
        const float d = pm__load_half(row);
        for (uint32_t e = 0; e < 64; e++)
            out[first + e] = (float)((row[2 + e / 4] >> 2 * (e % 4) & 3) - 1) * d;
    }
}

void pm__pack_q2_0(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pm__pack_bytes(row + 2, n_col / 64, 18, 16, quants);
    pm__pack_halves(row, n_col / 64, 18, scales);
}
