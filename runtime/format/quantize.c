/* quantize.c: rows into blocks; blocks of 32 elements. quantize_k.c has those of 256. */
#include "quantize.h"

#include "../base/checked.h"
#include "quantize_family.h"

#include <assert.h>
#include <math.h>

/* ---- rows ------------------------------------------------------------------------------------ */

typedef void (*block_quantizer)(pm__work *work, uint8_t *block);

static const block_quantizer quantizers[PM__TYPE_COUNT] = {
    [PM__TYPE_Q4_0] = pm__quantize_q4_0,     [PM__TYPE_Q4_1] = pm__quantize_q4_1,
    [PM__TYPE_Q5_0] = pm__quantize_q5_0,     [PM__TYPE_Q5_1] = pm__quantize_q5_1,
    [PM__TYPE_Q2_K] = pm__quantize_q2_k,     [PM__TYPE_Q3_K] = pm__quantize_q3_k,
    [PM__TYPE_Q4_K] = pm__quantize_q4_k,     [PM__TYPE_Q5_K] = pm__quantize_q5_k,
    [PM__TYPE_Q6_K] = pm__quantize_q6_k,     [PM__TYPE_IQ4_NL] = pm__quantize_iq4_nl,
    [PM__TYPE_IQ4_XS] = pm__quantize_iq4_xs, [PM__TYPE_MXFP4] = pm__quantize_mxfp4,
    [PM__TYPE_TQ2_0] = pm__quantize_tq2_0,
};

/* Where nothing is to be searched for. */
static bool is_plain(pm__type type) {
    return type == PM__TYPE_F32 || type == PM__TYPE_F16 || type == PM__TYPE_BF16 ||
           type == PM__TYPE_Q8_0;
}

bool pm__type_can_quantize(pm__type type) {
    return quantizers[type] != NULL || is_plain(type);
}

/* From 1e-6 to 1: where nothing matters, levels must still be the nearest ones. */
static void fill_weights(pm__work *work, const float *importance) {
    float most = 0;
    for (uint32_t i = 0; i < work->n && importance != NULL; i++)
        most = importance[i] > most ? importance[i] : most;
    for (uint32_t i = 0; i < work->n; i++)
        work->weight[i] = most > 0 ? fmaxf(importance[i] / most, 1e-6f) : 1;
}

static void work_init(pm__work *work, const float *x, const float *importance, uint32_t n) {
    float most = 0;
    int exponent;
    for (uint32_t i = 0; i < n; i++)
        most = fabsf(x[i]) > most ? fabsf(x[i]) : most;
    frexpf(most, &exponent);
    exponent = exponent < -100 ? -100 : exponent > 100 ? 100 : exponent;
    work->n = n;
    work->unit = ldexpf(1, exponent);
    for (uint32_t i = 0; i < n; i++)
        work->x[i] = x[i] / work->unit;
    fill_weights(work, importance);
}

static bool are_below(const float *x, uint32_t n, float limit) {
    for (uint32_t i = 0; i < n; i++)
        if (!(fabsf(x[i]) < limit))
            return false;
    return true;
}

/* Without importances to go by, a row gets the bytes that it has in everybody else's Q4_0 files;
 * there scales past the halves become infinite. */
static bool is_rounded(pm__type type, const float *x, const float *importance, uint32_t n_col) {
    return is_plain(type) ||
           (type == PM__TYPE_Q4_0 && importance == NULL && are_below(x, n_col, 8 * 65504.0f));
}

bool pm__type_quantize(pm__type type, const float *x, const float *importance, uint32_t n_col,
                       void *row) {
    const pm__type_info *info = pm__type_get(type);
    assert(pm__type_can_quantize(type) && n_col % info->block_n == 0);
    if (!are_below(x, n_col, INFINITY))
        return false;
    if (is_rounded(type, x, importance, n_col)) {
        pm__type_encode(type, x, n_col, row);
        return true;
    }
    uint8_t *block = row;
    for (uint32_t first = 0; first < n_col; first += info->block_n, block += info->block_bytes) {
        pm__work work;
        work_init(&work, x + first, importance != NULL ? importance + first : NULL, info->block_n);
        quantizers[type](&work, block);
    }
    return true;
}

/* ---- scales ---------------------------------------------------------------------------------- */

/* Halves nearest to x / unit, the nearest first. */
static void halves_near(float x, float unit, uint16_t out[3]) {
    const uint16_t half = pm__fit_half(x * unit);
    const uint16_t size = half & 0x7fff, sign = half & 0x8000;
    out[0] = half;
    out[1] = (uint16_t)(sign | (size > 0 ? size - 1 : 0));
    out[2] = (uint16_t)(sign | (size < 0x7bff ? size + 1 : size));
}

uint16_t pm__work_scale(pm__work *work, const pm__levels *levels, float scale) {
    const pm__group all = pm__work_group(work, 0, work->n);
    float least = INFINITY;
    uint16_t near[3], best = 0;
    halves_near(scale, work->unit, near);
    for (int i = 0; i < 3; i++) {
        float level[256];
        const float error =
            pm__fit_error(&all, levels, pm__f16_to_f32(near[i]) / work->unit, 0, level);
        if (error < least) {
            least = error;
            best = near[i];
            memcpy(work->level, level, work->n * sizeof *level);
        }
    }
    return best;
}

/* Scale and offset of a block, which lie at its start. */
static void put_affine(pm__work *work, const pm__levels *levels, uint8_t *block) {
    const pm__group all = pm__work_group(work, 0, work->n);
    float scale, offset, least = INFINITY;
    uint16_t scales[3], offsets[3];
    pm__fit_affine(&all, levels, false, &scale, &offset);
    halves_near(scale, work->unit, scales);
    halves_near(offset, work->unit, offsets);
    for (int i = 0; i < 9; i++) {
        float level[256];
        const float d = pm__f16_to_f32(scales[i / 3]) / work->unit;
        const float m = pm__f16_to_f32(offsets[i % 3]) / work->unit;
        const float error = pm__fit_error(&all, levels, d, m, level);
        if (error < least) {
            least = error;
            pm__store_u16(block, scales[i / 3]);
            pm__store_u16(block + 2, offsets[i % 3]);
            memcpy(work->level, level, work->n * sizeof *level);
        }
    }
}

/* ---- blocks of 32 ---------------------------------------------------------------------------- */

/* Low four bits of 32 numbers, the first 16 below the others. */
static void put_nibbles(const uint8_t *numbers, uint8_t *to) {
    for (uint32_t i = 0; i < 16; i++)
        to[i] = (uint8_t)((numbers[i] & 15) | numbers[16 + i] << 4);
}

/* Fifth bits of 32 numbers. */
static void put_fifths(const uint8_t *numbers, uint8_t *to) {
    for (uint32_t i = 0; i < 4; i++)
        to[i] = 0;
    for (uint32_t i = 0; i < 32; i++)
        to[i / 8] = (uint8_t)(to[i / 8] | (numbers[i] >> 4 & 1) << i % 8);
}

static void numbers_of(const pm__work *work, float more, uint8_t *numbers) {
    for (uint32_t i = 0; i < work->n; i++)
        numbers[i] = (uint8_t)(work->level[i] + more);
}

static void put_scale(pm__work *work, const pm__levels *levels, uint8_t *block) {
    const pm__group all = pm__work_group(work, 0, work->n);
    pm__store_u16(block, pm__work_scale(work, levels, pm__fit_scale(&all, levels)));
}

void pm__quantize_q4_0(pm__work *work, uint8_t *block) {
    static const pm__levels levels = {-8, 7, NULL};
    uint8_t numbers[32];
    put_scale(work, &levels, block);
    numbers_of(work, 8, numbers);
    put_nibbles(numbers, block + 2);
}

void pm__quantize_q4_1(pm__work *work, uint8_t *block) {
    static const pm__levels levels = {0, 15, NULL};
    uint8_t numbers[32];
    put_affine(work, &levels, block);
    numbers_of(work, 0, numbers);
    put_nibbles(numbers, block + 4);
}

void pm__quantize_q5_0(pm__work *work, uint8_t *block) {
    static const pm__levels levels = {-16, 15, NULL};
    uint8_t numbers[32];
    put_scale(work, &levels, block);
    numbers_of(work, 16, numbers);
    put_fifths(numbers, block + 2);
    put_nibbles(numbers, block + 6);
}

void pm__quantize_q5_1(pm__work *work, uint8_t *block) {
    static const pm__levels levels = {0, 31, NULL};
    uint8_t numbers[32];
    put_affine(work, &levels, block);
    numbers_of(work, 0, numbers);
    put_fifths(numbers, block + 4);
    put_nibbles(numbers, block + 8);
}

/* Places of levels in a table. */
static void places_of(const pm__work *work, const int8_t table[16], uint8_t *numbers) {
    for (uint32_t i = 0; i < work->n; i++) {
        numbers[i] = 0;
        while (table[numbers[i]] != (int)work->level[i])
            numbers[i]++;
    }
}

void pm__quantize_iq4_nl(pm__work *work, uint8_t *block) {
    static const pm__levels levels = {-127, 113, pm__levels_nl};
    uint8_t numbers[32];
    put_scale(work, &levels, block);
    places_of(work, pm__levels_nl, numbers);
    put_nibbles(numbers, block + 2);
}

/* Scales are powers of two: those are tried that bring the largest near the last level. */
void pm__quantize_mxfp4(pm__work *work, uint8_t *block) {
    static const int8_t ascending[16] = {-12, -8, -6, -4, -3, -2, -1, 0, 0, 1, 2, 3, 4, 6, 8, 12};
    static const pm__levels levels = {-12, 12, ascending};
    const pm__group all = pm__work_group(work, 0, work->n);
    uint8_t numbers[32];
    float least = INFINITY, level[256];
    int unit;
    frexpf(work->unit, &unit);
    block[0] = 0;
    for (int e = -7; e <= -2; e++) { /* of numbers in [-1, 1], the largest at least 0.5 */
        const int x = e + unit - 1 + 128;
        if (x < 0 || x > 254)
            continue;
        const float error = pm__fit_error(&all, &levels, ldexpf(1, e), 0, level);
        if (error < least) {
            least = error;
            block[0] = (uint8_t)x;
            memcpy(work->level, level, sizeof level);
        }
    }
    if (least == INFINITY)
        memset(work->level, 0, sizeof work->level);
    places_of(work, pm__levels_fp4, numbers);
    put_nibbles(numbers, block + 1);
}
