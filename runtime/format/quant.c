#include "quant.h"

#include "../base/checked.h"
#include "quant_family.h"
#include "quant_iq.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* ---- the list of types ----------------------------------------------------------------------- */

static const pm__type_info types[] = {
#define PM_QUANT(NAME, name, ...) {#NAME, #name, #NAME, __VA_ARGS__},
#define PM_QUANT_WIDE(NAME, name, id, block_n, block_bytes, half_at, n_half)                       \
    {#NAME, #name, "F32", id, block_n, block_bytes, 4, 4, 0, 0, half_at, n_half},
#include "quant.def"
};

static const struct {
    uint32_t id;
    pm__type_block block;
    const char *removed; /* what to do instead; NULL for a living type */
} ids[] = {
#define PM_QUANT(NAME, name, id, block_n, block_bytes, ...)                                        \
    {id, {#NAME, PM__TYPE_##NAME, block_n, block_bytes}, NULL},
#define PM_QUANT_WIDE(NAME, name, id, block_n, block_bytes, ...)                                   \
    {id, {#NAME, PM__TYPE_##NAME, block_n, block_bytes}, NULL},
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

void pm__type_decode(pm__type type, const void *row, uint32_t n_col, float *out) {
    static void (*const decoders[])(const uint8_t *, uint32_t, float *) = {
#define PM_QUANT(NAME, name, ...)      pm__decode_##name,
#define PM_QUANT_WIDE(NAME, name, ...) pm__decode_##name,
#include "quant.def"
    };
    assert(n_col % pm__type_get(type)->block_n == 0);
    decoders[type](row, n_col, out);
}

/* ---- planes ---------------------------------------------------------------------------------- */

void pm__pack_plain(const uint8_t *bytes, size_t n_byte, uint32_t *words) {
    size_t i = 0;
    for (; i < n_byte / 4; i++)
        words[i] = pm__load_u32(bytes + 4 * i);
    if (n_byte % 4 != 0)
        words[i++] = pm__load_u16(bytes + n_byte - 2);
    while (i % 4 != 0)
        words[i++] = 0;
}

void pm__pack_halves(const uint8_t *first, uint32_t n_block, size_t stride, uint32_t *words) {
    for (uint32_t b = 0; b < n_block; b += 2) {
        const uint32_t odd = b + 1 < n_block ? pm__load_u16(first + (b + 1) * stride) : 0;
        words[b / 2] = pm__load_u16(first + b * stride) | odd << 16;
    }
}

bool pm__type_has_levels(pm__type type) {
    static const bool has[PM__TYPE_COUNT] = {
        [PM__TYPE_Q4_0] = true,  [PM__TYPE_Q4_1] = true,   [PM__TYPE_Q5_0] = true,
        [PM__TYPE_Q5_1] = true,  [PM__TYPE_Q8_0] = true,   [PM__TYPE_Q2_K] = true,
        [PM__TYPE_Q3_K] = true,  [PM__TYPE_Q4_K] = true,   [PM__TYPE_Q5_K] = true,
        [PM__TYPE_Q6_K] = true,  [PM__TYPE_IQ4_NL] = true, [PM__TYPE_IQ4_XS] = true,
        [PM__TYPE_TQ1_0] = true, [PM__TYPE_TQ2_0] = true,  [PM__TYPE_Q1_0] = true,
        [PM__TYPE_Q2_0] = true,
    };
    return has[type];
}

uint32_t pm__type_chunks(pm__type type, uint32_t n_col) {
    return pm__ceil_div(n_col, pm__type_get(type)->chunk_n);
}

uint32_t pm__type_quant_words(pm__type type, uint32_t n_col) {
    return pm__type_chunks(type, n_col) * pm__type_get(type)->chunk_words;
}

uint32_t pm__type_scale_words(pm__type type, uint32_t n_col) {
    const pm__type_info *info = pm__type_get(type);
    return info->scale_n != 0 ? pm__ceil_div(n_col, info->scale_n) * info->scale_words : 0;
}

uint64_t pm__type_packed_bytes(pm__type type, uint32_t n_col) {
    const pm__type_info *info = pm__type_get(type);
    return 4 * (uint64_t)info->chunk_words * pm__type_chunks(type, n_col) +
           4 * (uint64_t)pm__type_scale_words(type, n_col);
}

/* As planes of F32. */
static void pack_wide(pm__type type, const uint8_t *row, uint32_t n_col, uint32_t *quants) {
    enum { GROUP = 256 }; /* elements, a multiple of every block */
    float values[GROUP];
    const pm__type_info *info = pm__type_get(type);
    for (uint32_t first = 0; first < n_col; first += GROUP) {
        const uint32_t n = pm__least_u32(GROUP, n_col - first);
        pm__type_decode(type, row + (size_t)(first / info->block_n) * info->block_bytes, n, values);
        for (uint32_t i = 0; i < n; i++)
            quants[first + i] = pm__bits_from_float(values[i]);
    }
    for (uint32_t i = n_col; i % 4 != 0; i++)
        quants[i] = 0;
}

void pm__type_pack(pm__type type, const void *row, uint32_t n_col, uint32_t *quants,
                   uint32_t *scales) {
    static void (*const packers[])(const uint8_t *, uint32_t, uint32_t *, uint32_t *) = {
#define PM_QUANT(NAME, name, ...)      pm__pack_##name,
#define PM_QUANT_WIDE(NAME, name, ...) NULL,
#include "quant.def"
    };
    assert(n_col % pm__type_get(type)->block_n == 0);
    if (packers[type] != NULL)
        packers[type](row, n_col, quants, scales);
    else
        pack_wide(type, row, n_col, quants);
}

/* ---- scales ---------------------------------------------------------------------------------- */

static void put_bytes(uint64_t bits, uint32_t n_byte, uint8_t *to) {
    for (uint32_t i = 0; i < n_byte; i++)
        to[i] = (uint8_t)(bits >> 8 * i);
}

/* Exponent of a power of two near x, counted from 2^-bias, in [0, most]. */
static uint32_t exponent_of(float x, int bias, int most) {
    int e;
    frexpf(x, &e); /* 2^(e - 1) <= |x| < 2^e; 0 for 0 */
    e += bias - 1;
    return (uint32_t)(e < 0 ? 0 : e > most ? most : e);
}

void pm__type_put_scale(pm__type type, float x, void *block) {
    const pm__type_info *info = pm__type_get(type);
    uint8_t *to = (uint8_t *)block + info->half_at;
    const double wide = (double)x;
    uint64_t bits;
    memcpy(&bits, &wide, sizeof bits);
    for (uint32_t i = 0; i < info->n_half; i++)
        put_bytes(pm__f32_to_f16(x), 2, to + (size_t)2 * i);
    if (type == PM__TYPE_F32 || type == PM__TYPE_Q8_K)
        put_bytes(pm__bits_from_float(x), 4, to);
    else if (type == PM__TYPE_BF16)
        put_bytes(pm__bits_from_float(x) >> 16, 2, to);
    else if (type == PM__TYPE_F64)
        put_bytes(bits, 8, to);
    else if (type == PM__TYPE_IQ1_M)
        pm__put_scale_iq1_m(pm__f32_to_f16(x), to);
    else if (type == PM__TYPE_MXFP4)
        to[0] = (uint8_t)exponent_of(x, 127, 252);
    for (uint32_t i = 0; i < 4 && type == PM__TYPE_NVFP4; i++)
        to[i] = (uint8_t)(exponent_of(x, 7, 14) << 3 | (to[i] & 7));
}
