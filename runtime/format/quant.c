#include "quant.h"

#include "../base/checked.h"
#include "bytes.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* ---- the list of types ----------------------------------------------------------------------- */

static const pm__type_info types[] = {
#define PM_QUANT(NAME, name, id, block_n, block_bytes, chunk_n, scale_n)                           \
    {#NAME, #name, id, block_n, block_bytes, chunk_n, scale_n},
#include "quant.def"
};

static const struct {
    uint32_t id;
    pm__type_block block;
    const char *removed; /* what to do instead; NULL for a living type */
} ids[] = {
#define PM_QUANT(NAME, name, id, block_n, block_bytes, chunk_n, scale_n)                           \
    {id, {#NAME, PM__TYPE_##NAME, block_n, block_bytes}, NULL},
#define PM_QUANT_OTHER(NAME, id, block_n, block_bytes)                                             \
    {id, {#NAME, PM__TYPE_COUNT, block_n, block_bytes}, NULL},
#define PM_QUANT_REMOVED(NAME, id, advice) {id, {#NAME, PM__TYPE_COUNT, 0, 0}, advice},
#include "quant.def"
};

const pm__type_info *pm__type_get(pm__type type) {
    assert((size_t)type < PM__COUNT(types));
    return &types[type];
}

/* PM__COUNT(ids) if there never was such a type. */
static size_t find_id(uint32_t id) {
    size_t i = 0;
    while (i < PM__COUNT(ids) && ids[i].id != id)
        i++;
    return i;
}

pm_status pm__type_block_from_id(uint32_t id, pm__type_block *out) {
    const size_t i = find_id(id);
    if (i == PM__COUNT(ids))
        return pm__fail(PM_BAD_FILE,
                        "tensor type %u is unknown; the file is damaged or newer than this pumice",
                        id);
    if (ids[i].removed != NULL)
        return pm__fail(PM_BAD_FILE, "tensor type %s (%u) was removed from the format; %s",
                        ids[i].block.name, id, ids[i].removed);
    *out = ids[i].block;
    return PM_OK;
}

const char *pm__type_id_name(uint32_t id) {
    const size_t i = find_id(id);
    return i < PM__COUNT(ids) ? ids[i].block.name : "unknown";
}

bool pm__type_row_bytes(pm__type type, uint64_t n_col, uint64_t *bytes) {
    const pm__type_info *info = pm__type_get(type);
    return n_col % info->block_n == 0 &&
           pm__mul_u64(n_col / info->block_n, info->block_bytes, bytes);
}

/* ---- binary16 -------------------------------------------------------------------------------- */

static float float_from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

static uint32_t bits_from_float(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

float pm__f16_to_f32(uint16_t half) {
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    const uint32_t exponent = half >> 10 & 31;
    const uint32_t mantissa = half & 1023;
    if (exponent == 0) /* zero and subnormals: all are normal in binary32 */
        return float_from_bits(sign | bits_from_float((float)mantissa * 0x1p-24f));
    const uint32_t wide = exponent == 31 ? 255 : exponent + (127 - 15);
    return float_from_bits(sign | wide << 23 | mantissa << 13);
}

uint16_t pm__f32_to_f16(float x) {
    const uint32_t bits = bits_from_float(x);
    const uint32_t sign = bits >> 16 & 0x8000;
    const uint32_t size = bits & 0x7fffffff;
    if (size > 0x7f800000) /* NaN: quiet, as much of the payload as there is room for */
        return (uint16_t)(sign | 0x7e00 | (size >> 13 & 0x1ff));
    if (size >= 0x477ff000) /* from 65520 the nearest is infinity */
        return (uint16_t)(sign | 0x7c00);
    if (size < 0x38800000) /* below 2^-14: beside 0.5 one unit in the last place is 2^-24 */
        return (uint16_t)(sign | (bits_from_float(float_from_bits(size) + 0.5f) - 0x3f000000));
    const uint32_t rounded = size + 0xfff + (size >> 13 & 1);
    return (uint16_t)(sign | ((rounded >> 13) - ((127 - 15) << 10)));
}

/* ---- decoding: [n_col] elements of a row to f32 ---------------------------------------------- */

static void decode_f32(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t i = 0; i < n_col; i++)
        out[i] = float_from_bits(pm__load_u32(row + 4 * (size_t)i));
}

static void decode_f16(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t i = 0; i < n_col; i++)
        out[i] = pm__f16_to_f32(pm__load_u16(row + 2 * (size_t)i));
}

static void decode_bf16(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t i = 0; i < n_col; i++)
        out[i] = float_from_bits((uint32_t)pm__load_u16(row + 2 * (size_t)i) << 16);
}

/* Block of 34 bytes: binary16 scale, 32 signed bytes. */
static void decode_q8_0(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 32, row += 34) {
        const float d = pm__f16_to_f32(pm__load_u16(row));
        for (uint32_t i = 0; i < 32; i++)
            out[first + i] = (float)(int8_t)row[2 + i] * d;
    }
}

/* Block of 18 bytes: binary16 scale, 16 bytes; low nibbles are elements 0 to 15, high ones 16
 * to 31. */
static void decode_q4_0(const uint8_t *row, uint32_t n_col, float *out) {
    for (uint32_t first = 0; first < n_col; first += 32, row += 18) {
        const float d = pm__f16_to_f32(pm__load_u16(row));
        for (uint32_t i = 0; i < 16; i++) {
            out[first + i] = (float)((row[2 + i] & 15) - 8) * d;
            out[first + 16 + i] = (float)((row[2 + i] >> 4) - 8) * d;
        }
    }
}

void pm__type_decode(pm__type type, const void *row, uint32_t n_col, float *out) {
    static void (*const decoders[])(const uint8_t *, uint32_t, float *) = {
#define PM_QUANT(NAME, name, id, block_n, block_bytes, chunk_n, scale_n) decode_##name,
#include "quant.def"
    };
    assert(n_col % pm__type_get(type)->block_n == 0);
    decoders[type](row, n_col, out);
}

/* ---- encoding: [n_col] f32 to a row ---------------------------------------------------------- */

static void put_u16(uint8_t *to, uint16_t x) {
    to[0] = (uint8_t)x;
    to[1] = (uint8_t)(x >> 8);
}

static void encode_f32(const float *x, uint32_t n_col, uint8_t *row) {
    for (uint32_t i = 0; i < n_col; i++) {
        const uint32_t bits = bits_from_float(x[i]);
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
        const uint32_t bits = bits_from_float(x[i]);
        const uint32_t rounded = isnan(x[i]) ? bits | 0x400000 : bits + 0x7fff + (bits >> 16 & 1);
        put_u16(row + 2 * (size_t)i, (uint16_t)(rounded >> 16));
    }
}

/* The element of the largest size, the first of several; what is no number is larger than any. */
static float find_extreme(const float *block) {
    uint32_t most = 0;
    float extreme = 0.0f;
    for (uint32_t i = 0; i < 32; i++) {
        const uint32_t size = bits_from_float(block[i]) & 0x7fffffff;
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
    static void (*const encoders[])(const float *, uint32_t, uint8_t *) = {
#define PM_QUANT(NAME, name, id, block_n, block_bytes, chunk_n, scale_n) encode_##name,
#include "quant.def"
    };
    assert(n_col % pm__type_get(type)->block_n == 0);
    encoders[type](x, n_col, row);
}

/* ---- packing: the planes that shaders/quant_<type>.glsl read --------------------------------- */

/* Byte i of the source is byte i % 4 of word i / 4, counted from the lowest; zeros up to the end of
 * the last chunk. n_byte is even. */
static void pack_plain(const uint8_t *row, size_t n_byte, uint32_t *quants) {
    size_t i = 0;
    for (; i < n_byte / 4; i++)
        quants[i] = pm__load_u32(row + 4 * i);
    if (n_byte % 4 != 0)
        quants[i++] = pm__load_u16(row + n_byte - 2);
    while (i % 4 != 0)
        quants[i++] = 0;
}

static void pack_f32(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    (void)scales;
    pack_plain(row, 4 * (size_t)n_col, quants);
}

static void pack_f16(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    (void)scales;
    pack_plain(row, 2 * (size_t)n_col, quants);
}

static void pack_bf16(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pack_f16(row, n_col, quants, scales);
}

/* Blocks of a binary16 scale and n_byte bytes, a multiple of 16. The bytes keep their order in the
 * quants plane; the scale of block b is the low (even b) or high (odd b) half of word b / 2 of the
 * scales plane. */
static void pack_scaled(const uint8_t *row, uint32_t n_block, uint32_t n_byte, uint32_t *quants,
                        uint32_t *scales) {
    const size_t stride = 2 + (size_t)n_byte;
    for (uint32_t b = 0; b < n_block; b++)
        pack_plain(row + b * stride + 2, n_byte, quants + (size_t)b * (n_byte / 4));
    for (uint32_t b = 0; b < n_block; b += 2) {
        const uint32_t odd = b + 1 < n_block ? pm__load_u16(row + (b + 1) * stride) : 0;
        scales[b / 2] = pm__load_u16(row + b * stride) | odd << 16;
    }
}

/* A chunk is half a block: component k holds element 4k + i in bits 8i to 8i + 7, signed. */
static void pack_q8_0(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pack_scaled(row, n_col / 32, 32, quants, scales);
}

/* A chunk is a block: component k holds element 4k + i in bits 8i to 8i + 3 and element 16 + 4k + i
 * in bits 8i + 4 to 8i + 7, each 8 more than its level. */
static void pack_q4_0(const uint8_t *row, uint32_t n_col, uint32_t *quants, uint32_t *scales) {
    pack_scaled(row, n_col / 32, 16, quants, scales);
}

uint32_t pm__type_quant_words(pm__type type, uint32_t n_col) {
    return pm__ceil_div(n_col, pm__type_get(type)->chunk_n) * 4;
}

uint32_t pm__type_scale_words(pm__type type, uint32_t n_col) {
    const uint32_t scale_n = pm__type_get(type)->scale_n;
    return scale_n != 0 ? pm__ceil_div(n_col, scale_n) : 0;
}

uint64_t pm__type_packed_bytes(pm__type type, uint32_t n_col) {
    return 16 * (uint64_t)pm__ceil_div(n_col, pm__type_get(type)->chunk_n) +
           4 * (uint64_t)pm__type_scale_words(type, n_col);
}

void pm__type_pack(pm__type type, const void *row, uint32_t n_col, uint32_t *quants,
                   uint32_t *scales) {
    static void (*const packers[])(const uint8_t *, uint32_t, uint32_t *, uint32_t *) = {
#define PM_QUANT(NAME, name, id, block_n, block_bytes, chunk_n, scale_n) pack_##name,
#include "quant.def"
    };
    assert(n_col % pm__type_get(type)->block_n == 0);
    packers[type](row, n_col, quants, scales);
}

/* Groups that end with a word of either plane. */
void pm__type_encode_packed(pm__type type, const float *x, uint32_t n_col, uint32_t *quants,
                            uint32_t *scales) {
    enum { GROUP = 64 };
    const uint32_t chunk_n = pm__type_get(type)->chunk_n, scale_n = pm__type_get(type)->scale_n;
    uint8_t rows[GROUP * sizeof(float)];
    for (uint32_t first = 0; first < n_col; first += GROUP) {
        const uint32_t n = n_col - first < GROUP ? n_col - first : GROUP;
        pm__type_encode(type, x + first, n, rows);
        pm__type_pack(type, rows, n, quants + (size_t)first / chunk_n * 4,
                      scale_n != 0 ? scales + first / scale_n : NULL);
    }
}

/* ---- reading planes -------------------------------------------------------------------------- */

static void read_f32(const uint32_t *quants, const uint32_t *scales, uint32_t first, uint32_t n,
                     float *out) {
    (void)scales;
    for (uint32_t i = 0; i < n; i++)
        out[i] = float_from_bits(quants[first + i]);
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
        out[i] = float_from_bits((uint32_t)half_of(quants, first + i) << 16);
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
    static void (*const readers[])(const uint32_t *, const uint32_t *, uint32_t, uint32_t,
                                   float *) = {
#define PM_QUANT(NAME, name, id, block_n, block_bytes, chunk_n, scale_n) read_##name,
#include "quant.def"
    };
    assert(first % pm__type_get(type)->block_n == 0 && n % pm__type_get(type)->block_n == 0);
    readers[type](quants, scales, first, n, out);
}
