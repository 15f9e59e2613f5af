#include "blocks.h"

#include <math.h>
#include <string.h>

enum { HALF = PM__BLOCK_N / 2 };

static const uint32_t NAN_BITS = 0x7fc00000, MOST_BITS = 0x71800000, LEAST_BITS = 0x21800000;

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* The least m * 2^e, with m an integer up to 33, whose 127-fold reaches the largest number. */
static float scale_of(uint32_t most_bits) {
    float most;
    memcpy(&most, &most_bits, sizeof most);
    const int exponent = (int)(most_bits >> 23) - 127 - 11;
    const uint32_t m = 17 + ((most_bits >> 19) & 15);
    const float scale = ldexpf((float)m, exponent);
    return 127 * scale < most ? ldexpf((float)(m + 1), exponent) : scale;
}

/* Of x / scale; halves go away from zero. The products are exact. */
static int nearest(float x, float scale) {
    const float size = fabsf(x);
    int q = (int)(size / scale);
    if (size >= ((float)q + 0.5f) * scale)
        q++;
    return x < 0 ? -q : q;
}

static uint32_t *words_of(uint32_t *row, uint32_t plane, uint32_t i, uint32_t n_block) {
    return row + ((size_t)plane * n_block + i) * 4;
}

static void write_tail(float scale, const int sums[2], uint32_t *words) {
    words[0] = bits_of(scale);
    words[1] = bits_of(scale * (float)sums[0]);
    words[2] = bits_of(scale * (float)sums[1]);
    words[3] = 0;
}

void pm__block_write(const float *x, uint32_t i, uint32_t n_block, uint32_t *row) {
    uint32_t most = 0;
    int sums[2] = {0};
    for (int k = 0; k < PM__BLOCK_N; k++)
        most = (bits_of(x[k]) & 0x7fffffff) > most ? bits_of(x[k]) & 0x7fffffff : most;
    const bool is_number = most >= LEAST_BITS && most < MOST_BITS;
    const float scale = is_number ? scale_of(most) : 0;
    for (int half = 0; half < 2; half++) {
        uint32_t *words = words_of(row, (uint32_t)half, i, n_block);
        memset(words, 0, 4 * sizeof *words);
        for (int k = 0; k < HALF && is_number; k++) {
            const int q = nearest(x[half * HALF + k], scale);
            words[k / 4] |= ((uint32_t)q & 255) << 8 * (k % 4);
            sums[half] += q;
        }
    }
    uint32_t *tail = words_of(row, 2, i, n_block);
    write_tail(scale, sums, tail);
    for (int k = 0; k < 3 && most >= MOST_BITS; k++)
        tail[k] = NAN_BITS;
}

void pm__block_read(const uint32_t *row, uint32_t i, uint32_t n_block, float *out) {
    float scale;
    memcpy(&scale, row + ((size_t)2 * n_block + i) * 4, sizeof scale);
    for (uint32_t k = 0; k < PM__BLOCK_N; k++) {
        const uint32_t word = row[((size_t)(k / HALF) * n_block + i) * 4 + k % HALF / 4];
        out[k] = scale * (float)(int8_t)(word >> 8 * (k % 4));
    }
}
