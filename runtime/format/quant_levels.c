/* quant_levels.c: levels of four bits that stand for the numbers of a table. */
#include "quant_bits.h"
#include "quant_family.h"

const int8_t pm__levels_nl[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
const int8_t pm__levels_fp4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* A group of 32: low halves of 16 bytes are elements 0 to 15, high ones 16 to 31. */
static void decode_group(const uint8_t *bytes, const int8_t levels[16], float d, float *out) {
    for (uint32_t i = 0; i < 16; i++) {
        out[i] = d * (float)levels[bytes[i] & 15];
        out[16 + i] = d * (float)levels[bytes[i] >> 4];
    }
}

/* Block of 18 bytes: binary16 scale, 16 bytes. */
void pm__decode_iq4_nl(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 32, row += 18)
        decode_group(row + 2, pm__levels_nl, pm__load_half(row), out + first);
}

void pm__pack_iq4_nl(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pm__pack_q4_0(row, n_col, quants, scales);
}

/* Block of 136 bytes: binary16 scale; upper two bits, then low four, of the scales of eight groups;
 * 16 bytes a group. */
void pm__decode_iq4_xs(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 256, row += 136) {
        const float d = pm__load_half(row);
        for (uint32_t g = 0; g < 8; g++) {
            const int low = row[4 + g / 2] >> 4 * (g % 2) & 15;
            const int s = (low | (pm__load_u16(row + 2) >> 2 * g & 3) << 4) - 32;
            decode_group(row + 8 + 16 * g, pm__levels_nl, d * (float)s, out + first + 32 * g);
        }
    }
}

void pm__pack_iq4_xs(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pm__pack_bytes(row + 8, n_col / 256, 136, 128, quants);
    pm__pack_bytes(row, n_col / 256, 136, 8, scales);
}

/* Block of 17 bytes: exponent, 16 bytes. The table has twice what levels stand for: the exponent
 * counts from 2^-128. */
void pm__decode_mxfp4(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 32, row += 17) {
        const uint32_t bits = row[0] < 2 ? 0x00200000u << row[0] : (row[0] - 1u) << 23;
        decode_group(row + 1, pm__levels_fp4, pm__float_from_bits(bits), out + first);
    }
}

/* The exponent of block b is byte b % 4 of word b / 4. */
void pm__pack_mxfp4(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    const uint32_t n_block = n_col / 32;
    pm__pack_bytes(row + 1, n_block, 17, 16, quants);
    for (uint32_t b = 0; b < n_block; b += 4) {
        uint32_t word = 0;
        for (uint32_t i = 0; i < 4 && b + i < n_block; i++)
            word |= (uint32_t)row[(b + i) * 17] << 8 * i;
        scales[b / 4] = word;
    }
}

/* Half of what four bits of exponent and three of mantissa stand for; 127 is no number and counts
 * as 0, as in ggml. */
static float scale_nvfp4(uint8_t byte) {
    const uint32_t exponent = byte >> 3 & 15, mantissa = byte & 7;
    if (byte == 127)
        return 0.0f;
    if (exponent == 0)
        return (float)mantissa * 0x1p-10f;
    return pm__float_from_bits((exponent + 119) << 23 | mantissa << 20);
}

/* Block of 36 bytes: four scales of 16 elements, then 8 bytes for each of them: low halves are
 * elements 0 to 7. */
void pm__decode_nvfp4(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 64, row += 36) {
        for (uint32_t i = 0; i < 64; i++) {
            const uint32_t byte = row[4 + i / 16 * 8 + i % 8];
            const float level = (float)pm__levels_fp4[byte >> 4 * (i / 8 % 2) & 15];
            out[first + i] = level * scale_nvfp4(row[i / 16]);
        }
    }
}

void pm__pack_nvfp4(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    for (uint32_t b = 0; b < n_col / 64; b++, row += 36) {
        scales[b] = pm__load_u32(row);
        for (uint32_t c = 0; c < 2; c++)
            for (uint32_t k = 0; k < 4; k++) {
                const uint8_t *at = row + 4 + 16 * c + 4 * (k % 2);
                const uint32_t low = pm__load_u32(at) >> 4 * (k / 2) & 0x0f0f0f0f;
                const uint32_t high = pm__load_u32(at + 8) >> 4 * (k / 2) & 0x0f0f0f0f;
                *quants++ = low | high << 4;
            }
    }
}
