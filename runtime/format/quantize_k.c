/* quantize_k.c: blocks of 256 elements. Each group has a best scale (and offset); what multiplies
 * the few bits that are left of them is searched for, then the bits, then the levels. */
#include "../base/checked.h"
#include "quantize_family.h"

#include <math.h>

enum { MOST_GROUPS = 16, N_ROUND = 2, N_TRY = 4 };

/* ---- groups with a scale --------------------------------------------------------------------- */

typedef struct scaled_shape {
    pm__levels levels;
    uint32_t group_n;
    int least, most; /* scales of groups, whole numbers */
} scaled_shape;

typedef struct scaled {
    uint16_t d;
    int scales[MOST_GROUPS];
    float level[256];
    float error;
} scaled;

/* With the multiplier d of a block, the scales nearest to those wanted that serve best. */
static void choose_scales(const pm__work *work, const scaled_shape *shape, const float *wanted,
                          scaled *s) {
    const float d = pm__f16_to_f32(s->d) / work->unit;
    s->error = 0;
    for (uint32_t g = 0; g < 256 / shape->group_n; g++) {
        const uint32_t first = g * shape->group_n;
        const pm__group group = pm__work_group(work, first, shape->group_n);
        const float ratio = d != 0.0f ? wanted[g] / d : 0;
        const int near = (int)roundf(fmaxf(fminf(ratio, 200), -200));
        float least = INFINITY, level[256];
        for (int k = near - 1; k <= near + 1; k++) {
            const int scale = k < shape->least ? shape->least : k > shape->most ? shape->most : k;
            const float error = pm__fit_error(&group, &shape->levels, d * (float)scale, 0, level);
            if (error < least) {
                least = error;
                s->scales[g] = scale;
                memcpy(s->level + first, level, shape->group_n * sizeof *level);
            }
        }
        s->error += least;
    }
}

/* The multiplier that suits the chosen scales and levels best. */
static uint16_t fit_multiplier(const pm__work *work, const scaled_shape *shape, const scaled *s) {
    float xl = 0, ll = 0;
    for (uint32_t i = 0; i < 256; i++) {
        const float level = (float)s->scales[i / shape->group_n] * s->level[i];
        xl += work->weight[i] * work->x[i] * level;
        ll += work->weight[i] * level * level;
    }
    return ll > 0 ? pm__fit_half(xl / ll * work->unit) : s->d;
}

static void fit_scaled(const pm__work *work, const scaled_shape *shape, scaled *best) {
    float wanted[MOST_GROUPS], extreme = 0;
    for (uint32_t g = 0; g < 256 / shape->group_n; g++) {
        const pm__group group = pm__work_group(work, g * shape->group_n, shape->group_n);
        wanted[g] = pm__fit_scale(&group, &shape->levels);
        extreme = fabsf(wanted[g]) > fabsf(extreme) ? wanted[g] : extreme;
    }
    best->error = INFINITY;
    for (int i = 0; i < N_TRY; i++) {
        const int end = i % 2 == 0 ? shape->least : shape->most;
        scaled s = {.d = pm__fit_half(extreme / (float)end * (i < 2 ? 1.0f : 1.04f) * work->unit)};
        for (int round = 0; round < N_ROUND; round++) {
            choose_scales(work, shape, wanted, &s);
            if (s.error < best->error)
                *best = s;
            s.d = fit_multiplier(work, shape, &s);
        }
    }
}

/* ---- groups with a scale and an offset ------------------------------------------------------- */

typedef struct affine_shape {
    pm__levels levels;
    uint32_t group_n;
    int most; /* scales and offsets of groups */
} affine_shape;

typedef struct affine {
    uint16_t d, dmin;
    int scales[MOST_GROUPS], mins[MOST_GROUPS];
    float level[256];
    float error;
} affine;

static int clamped(float ratio, int most) {
    return ratio > 0 ? (int)fminf(roundf(ratio), (float)most) : 0;
}

/* Scale and offset of a group are tried with their neighbours. */
static float choose_pair(const pm__group *group, const affine_shape *shape,
                         const float multipliers[2], const float wanted[2], int chosen[2],
                         float *level) {
    const float d = multipliers[0], dmin = multipliers[1];
    const int scale = d != 0.0f ? clamped(wanted[0] / d, shape->most) : 0;
    const int min = dmin != 0.0f ? clamped(wanted[1] / dmin, shape->most) : 0;
    float least = INFINITY, trial[256];
    for (int i = 0; i < 9; i++) {
        const int s = scale + i / 3 - 1, m = min + i % 3 - 1;
        if (s < 0 || s > shape->most || m < 0 || m > shape->most)
            continue;
        const float error =
            pm__fit_error(group, &shape->levels, d * (float)s, -dmin * (float)m, trial);
        if (error < least) {
            least = error;
            chosen[0] = s;
            chosen[1] = m;
            memcpy(level, trial, group->n * sizeof *level);
        }
    }
    return least;
}

static void choose_pairs(const pm__work *work, const affine_shape *shape, float (*wanted)[2],
                         affine *a) {
    const float multipliers[2] = {pm__f16_to_f32(a->d) / work->unit,
                                  pm__f16_to_f32(a->dmin) / work->unit};
    a->error = 0;
    for (uint32_t g = 0; g < 256 / shape->group_n; g++) {
        const uint32_t first = g * shape->group_n;
        const pm__group group = pm__work_group(work, first, shape->group_n);
        int chosen[2] = {0, 0};
        a->error += choose_pair(&group, shape, multipliers, wanted[g], chosen, a->level + first);
        a->scales[g] = chosen[0];
        a->mins[g] = chosen[1];
    }
}

/* Multipliers of scales and offsets that suit what was chosen best. */
static void fit_multipliers(const pm__work *work, const affine_shape *shape, affine *a) {
    float xl = 0, ll = 0, xm = 0, mm = 0, lm = 0;
    for (uint32_t i = 0; i < 256; i++) {
        const float w = work->weight[i], m = -(float)a->mins[i / shape->group_n];
        const float l = (float)a->scales[i / shape->group_n] * a->level[i];
        xl += w * work->x[i] * l;
        ll += w * l * l;
        xm += w * work->x[i] * m;
        mm += w * m * m;
        lm += w * l * m;
    }
    const float determinant = ll * mm - lm * lm;
    if (determinant > 1e-6f * ll * mm) {
        a->d = pm__fit_half((mm * xl - lm * xm) / determinant * work->unit);
        a->dmin = pm__fit_half((ll * xm - lm * xl) / determinant * work->unit);
    } else if (ll > 0) {
        a->d = pm__fit_half((xl - pm__f16_to_f32(a->dmin) / work->unit * lm) / ll * work->unit);
    }
}

static void fit_pairs(const pm__work *work, const affine_shape *shape, affine *best) {
    float wanted[MOST_GROUPS][2], most[2] = {0, 0};
    for (uint32_t g = 0; g < 256 / shape->group_n; g++) {
        const pm__group group = pm__work_group(work, g * shape->group_n, shape->group_n);
        float offset;
        pm__fit_affine(&group, &shape->levels, true, &wanted[g][0], &offset);
        wanted[g][1] = -offset;
        most[0] = fmaxf(most[0], wanted[g][0]);
        most[1] = fmaxf(most[1], wanted[g][1]);
    }
    best->error = INFINITY;
    const float end = (float)shape->most;
    for (int i = 0; i < N_TRY; i++) {
        affine a = {
            .d = pm__fit_half(most[0] / end * (i % 2 == 0 ? 1.0f : 0.93f) * work->unit),
            .dmin = pm__fit_half(most[1] / end * (i / 2 == 0 ? 1.0f : 0.93f) * work->unit),
        };
        for (int round = 0; round < N_ROUND; round++) {
            choose_pairs(work, shape, wanted, &a);
            if (a.error < best->error)
                *best = a;
            fit_multipliers(work, shape, &a);
        }
    }
}

/* ---- into blocks ----------------------------------------------------------------------------- */

/* Two bits of each number from bit `shift` on: element 128h + 32j + r into byte 32h + r, bits
 * 2j. */
static void put_pairs(const uint8_t *numbers, uint32_t shift, uint8_t *to) {
    for (uint32_t i = 0; i < 64; i++) {
        const uint8_t *from = numbers + 128 * (i / 32) + i % 32;
        to[i] = (uint8_t)((from[0] >> shift & 3) | (from[32] >> shift & 3) << 2 |
                          (from[64] >> shift & 3) << 4 | (from[96] >> shift & 3) << 6);
    }
}

/* Bit `shift` of each number: element 32g + r into bit g of byte r. */
static void put_bits(const uint8_t *numbers, uint32_t shift, uint8_t *to) {
    for (uint32_t r = 0; r < 32; r++) {
        uint32_t byte = 0;
        for (uint32_t g = 0; g < 8; g++)
            byte |= (numbers[32 * g + r] >> shift & 1u) << g;
        to[r] = (uint8_t)byte;
    }
}

/* Low four bits: groups of `n` and the next one share bytes. */
static void put_nibbles(const uint8_t *numbers, uint32_t n, uint8_t *to) {
    for (uint32_t first = 0; first < 256; first += 2 * n)
        for (uint32_t i = 0; i < n; i++)
            *to++ = (uint8_t)((numbers[first + i] & 15) | numbers[first + n + i] << 4);
}

static void numbers_of(const float *level, float more, uint8_t *numbers) {
    for (uint32_t i = 0; i < 256; i++)
        numbers[i] = (uint8_t)(level[i] + more);
}

void pm__quantize_q2_k(pm__work *work, uint8_t *block) {
    static const affine_shape shape = {{0, 3, NULL}, 16, 15};
    uint8_t numbers[256];
    affine a;
    fit_pairs(work, &shape, &a);
    for (uint32_t g = 0; g < 16; g++)
        block[g] = (uint8_t)(a.scales[g] | a.mins[g] << 4);
    numbers_of(a.level, 0, numbers);
    put_pairs(numbers, 0, block + 16);
    pm__store_u16(block + 80, a.d);
    pm__store_u16(block + 82, a.dmin);
}

void pm__quantize_q3_k(pm__work *work, uint8_t *block) {
    static const scaled_shape shape = {{-4, 3, NULL}, 16, -32, 31};
    uint8_t numbers[256];
    scaled s;
    fit_scaled(work, &shape, &s);
    numbers_of(s.level, 4, numbers);
    put_bits(numbers, 2, block);
    put_pairs(numbers, 0, block + 32);
    memset(block + 96, 0, 12);
    for (uint32_t g = 0; g < 16; g++) {
        const uint32_t scale = (uint32_t)(s.scales[g] + 32);
        uint8_t *low = block + 96 + g % 8, *high = block + 104 + g % 4;
        *low = (uint8_t)(*low | (scale & 15) << 4 * (g / 8));
        *high = (uint8_t)(*high | scale >> 4 << 2 * (g / 4));
    }
    pm__store_u16(block + 108, s.d);
}

/* The first 16 bytes of Q4_K and Q5_K. */
static void put_six_bits(const affine *a, uint8_t *block) {
    pm__store_u16(block, a->d);
    pm__store_u16(block + 2, a->dmin);
    for (uint32_t g = 0; g < 4; g++) {
        const int scale = a->scales[g + 4], min = a->mins[g + 4];
        block[4 + g] = (uint8_t)(a->scales[g] | scale >> 4 << 6);
        block[8 + g] = (uint8_t)(a->mins[g] | min >> 4 << 6);
        block[12 + g] = (uint8_t)((scale & 15) | (min & 15) << 4);
    }
}

void pm__quantize_q4_k(pm__work *work, uint8_t *block) {
    static const affine_shape shape = {{0, 15, NULL}, 32, 63};
    uint8_t numbers[256];
    affine a;
    fit_pairs(work, &shape, &a);
    put_six_bits(&a, block);
    numbers_of(a.level, 0, numbers);
    put_nibbles(numbers, 32, block + 16);
}

void pm__quantize_q5_k(pm__work *work, uint8_t *block) {
    static const affine_shape shape = {{0, 31, NULL}, 32, 63};
    uint8_t numbers[256];
    affine a;
    fit_pairs(work, &shape, &a);
    put_six_bits(&a, block);
    numbers_of(a.level, 0, numbers);
    put_bits(numbers, 4, block + 16);
    put_nibbles(numbers, 32, block + 48);
}

void pm__quantize_q6_k(pm__work *work, uint8_t *block) {
    static const scaled_shape shape = {{-32, 31, NULL}, 16, -128, 127};
    uint8_t numbers[256];
    scaled s;
    fit_scaled(work, &shape, &s);
    numbers_of(s.level, 32, numbers);
    put_nibbles(numbers, 64, block);
    put_pairs(numbers, 4, block + 128);
    for (uint32_t g = 0; g < 16; g++)
        block[192 + g] = (uint8_t)(int8_t)s.scales[g];
    pm__store_u16(block + 208, s.d);
}

void pm__quantize_iq4_xs(pm__work *work, uint8_t *block) {
    static const scaled_shape shape = {{-127, 113, pm__levels_nl}, 32, -32, 31};
    uint32_t upper = 0;
    uint8_t numbers[256];
    scaled s;
    fit_scaled(work, &shape, &s);
    pm__store_u16(block, s.d);
    memset(block + 4, 0, 4);
    for (uint32_t g = 0; g < 8; g++) {
        const uint32_t scale = (uint32_t)(s.scales[g] + 32);
        block[4 + g / 2] = (uint8_t)(block[4 + g / 2] | (scale & 15) << 4 * (g % 2));
        upper |= scale >> 4 << 2 * g;
    }
    pm__store_u16(block + 2, (uint16_t)upper);
    for (uint32_t i = 0; i < 256; i++)
        for (numbers[i] = 0; pm__levels_nl[numbers[i]] != (int)s.level[i];)
            numbers[i]++;
    put_nibbles(numbers, 16, block + 8);
}

void pm__quantize_tq2_0(pm__work *work, uint8_t *block) {
    static const pm__levels levels = {-1, 1, NULL};
    const pm__group all = pm__work_group(work, 0, 256);
    uint8_t numbers[256];
    pm__store_u16(block + 64, pm__work_scale(work, &levels, fabsf(pm__fit_scale(&all, &levels))));
    numbers_of(work->level, 1, numbers);
    put_pairs(numbers, 0, block);
}
