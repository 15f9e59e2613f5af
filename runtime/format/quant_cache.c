/* quant_cache.c: what caches need of a type beside decoding and packing: the encoding that
 * shaders/kv_store.comp makes too, bit for bit, and reading planes back. */
#include "quant_family.h"

#include <assert.h>
#include <math.h>

/* ---- encoding: [n_col] f32 to a row ---------------------------------------------------------- */

static void put_u16(uint8_t *to, uint16_t x) {
    to[0] = (uint8_t)x;
    to[1] = (uint8_t)(x >> 8);
}

static void encode_f32(const float *x, uint32_t n_col, uint8_t *row) {
    for (uint32_t i = 0; i < n_col; i++) {
        const uint32_t bits = pm__bits_from_float(x[i]);
        put_u16(row + 4 * (size_t)i, (uint16_t)bits);
        put_u16(row + 4 * (size_t)i + 2, (uint16_t)(bits >> 16));
    }
}

static void encode_f16(const float *x, uint32_t n_col, uint8_t *row) {
    for (uint32_t i = 0; i < n_col; i++)
        put_u16(row + 2 * (size_t)i, pm__f32_to_f16(x[i]));
}

static void encode_bf16(const float *x, uint32_t n_col, uint8_t *row) {
    for (uint32_t i = 0; i < n_col; i++) {
        const uint32_t bits = pm__bits_from_float(x[i]);
        const uint32_t rounded = isnan(x[i]) ? bits | 0x400000 : bits + 0x7fff + (bits >> 16 & 1);
        put_u16(row + 2 * (size_t)i, (uint16_t)(rounded >> 16));
    }
}

/* The element of the largest size, the first of several; what is no number is larger than any. */
static float find_extreme(const float *block) {
    uint32_t most = 0;
    float extreme = 0.0f;
    for (uint32_t i = 0; i < 32; i++) {
        const uint32_t size = pm__bits_from_float(block[i]) & 0x7fffffff;
        if (size > most) {
            most = size;
            extreme = block[i];
        }
    }
    return extreme;
}

/* Writes the scale, gives what elements are multiplied by to become levels: 0 where they all are
 * level 0. A block with an infinity or a NaN decodes to NaNs. The bound on the scale is far below
 * what binary16 can hold, and keeps the reciprocal where every device divides alike. */
static float put_scale(float scale, uint8_t *block) {
    put_u16(block, isfinite(scale) ? pm__f32_to_f16(scale) : 0x7e00);
    return isfinite(scale) && fabsf(scale) >= 0x1p-100f ? 1.0f / scale : 0.0f;
}

static void encode_q8_0(const float *x, uint32_t n_col, uint8_t *row) {
    for (uint32_t first = 0; first < n_col; first += 32, row += 34) {
        const float inverse = put_scale(fabsf(find_extreme(x + first)) / 127.0f, row);
        for (uint32_t i = 0; i < 32; i++)
            row[2 + i] = inverse != 0.0f ? (uint8_t)(int8_t)roundf(x[first + i] * inverse) : 0;
    }
}

/* 8 more than the level; the extreme has -8. */
static uint8_t level_q4_0(float x, float inverse) {
    if (inverse == 0.0f)
        return 8;
    const float level = x * inverse; /* rounded before the addition */
    const int up = (int)(level + 8.5f);
    return (uint8_t)(up < 15 ? up : 15);
}

static void encode_q4_0(const float *x, uint32_t n_col, uint8_t *row) {
    for (uint32_t first = 0; first < n_col; first += 32, row += 18) {
        const float inverse = put_scale(find_extreme(x + first) / -8.0f, row);
        for (uint32_t i = 0; i < 16; i++)
            row[2 + i] = (uint8_t)(level_q4_0(x[first + i], inverse) |
                                   level_q4_0(x[first + 16 + i], inverse) << 4);
    }
}

void pm__type_encode(pm__type type, const float *x, uint32_t n_col, void *row) {
    static void (*const encoders[PM__TYPE_COUNT])(const float *, uint32_t, uint8_t *) = {
        [PM__TYPE_F32] = encode_f32,   [PM__TYPE_F16] = encode_f16,   [PM__TYPE_BF16] = encode_bf16,
        [PM__TYPE_Q8_0] = encode_q8_0, [PM__TYPE_Q4_0] = encode_q4_0,
    };
    assert(n_col % pm__type_get(type)->block_n == 0 && encoders[type] != NULL);
    encoders[type](x, n_col, row);
}

/* Groups that end with a word of either plane. */
void pm__type_encode_packed(pm__type type, const float *x, uint32_t n_col, uint32_t *quants,
                            uint32_t *scales) {
    enum { GROUP = 64 };
    const pm__type_info *info = pm__type_get(type);
    uint8_t rows[GROUP * sizeof(float)];
    for (uint32_t first = 0; first < n_col; first += GROUP) {
        const uint32_t n = n_col - first < GROUP ? n_col - first : GROUP;
        pm__type_encode(type, x + first, n, rows);
        pm__type_pack(type, rows, n, quants + (size_t)first / info->chunk_n * info->chunk_words,
                      info->scale_n != 0 ? scales + first / info->scale_n : NULL);
    }
}

/* ---- reading planes -------------------------------------------------------------------------- */

static void read_f32(const uint32_t *quants, const uint32_t *scales, uint32_t first, uint32_t n,
                     float *out) {
    (void)scales;
    for (uint32_t i = 0; i < n; i++)
        out[i] = pm__float_from_bits(quants[first + i]);
}

static uint16_t half_of(const uint32_t *words, uint32_t i) {
    return (uint16_t)(words[i / 2] >> 16 * (i % 2));
}

static void read_f16(const uint32_t *quants, const uint32_t *scales, uint32_t first, uint32_t n,
                     float *out) {
    (void)scales;
    for (uint32_t i = 0; i < n; i++)
        out[i] = pm__f16_to_f32(half_of(quants, first + i));
}

static void read_bf16(const uint32_t *quants, const uint32_t *scales, uint32_t first, uint32_t n,
                      float *out) {
    (void)scales;
    for (uint32_t i = 0; i < n; i++)
        out[i] = pm__float_from_bits((uint32_t)half_of(quants, first + i) << 16);
}

static void read_q8_0(const uint32_t *quants, const uint32_t *scales, uint32_t first, uint32_t n,
                      float *out) {
    for (uint32_t b = first / 32; b < (first + n) / 32; b++, out += 32) {
        const float d = pm__f16_to_f32(half_of(scales, b));
        for (uint32_t i = 0; i < 32; i++)
            out[i] = (float)(int8_t)(quants[8 * b + i / 4] >> 8 * (i % 4)) * d;
    }
}

static void read_q4_0(const uint32_t *quants, const uint32_t *scales, uint32_t first, uint32_t n,
                      float *out) {
    for (uint32_t b = first / 32; b < (first + n) / 32; b++, out += 32) {
        const float d = pm__f16_to_f32(half_of(scales, b));
        for (uint32_t i = 0; i < 32; i++) {
            const uint32_t bit = 8 * (i % 4) + 4 * (i / 16);
            out[i] = (float)((int)(quants[4 * b + i % 16 / 4] >> bit & 15) - 8) * d;
        }
    }
}

void pm__type_read(pm__type type, const uint32_t *quants, const uint32_t *scales, uint32_t first,
                   uint32_t n, float *out) {
    static void (*const readers[PM__TYPE_COUNT])(const uint32_t *, const uint32_t *, uint32_t,
                                                 uint32_t, float *) = {
        [PM__TYPE_F32] = read_f32,   [PM__TYPE_F16] = read_f16,   [PM__TYPE_BF16] = read_bf16,
        [PM__TYPE_Q8_0] = read_q8_0, [PM__TYPE_Q4_0] = read_q4_0,
    };
    assert(first % pm__type_get(type)->block_n == 0 && n % pm__type_get(type)->block_n == 0);
    assert(readers[type] != NULL);
    readers[type](quants, scales, first, n, out);
}
