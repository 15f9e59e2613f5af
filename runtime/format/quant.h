/* quant.h: tensor element types: decoding on the CPU, packing into planes for the GPU, and what
 * caches need.
 *
 * A GGUF block has an awkward size (18, 34, ... bytes). At load a row is split into planes of
 * 4-byte words:
 *
 *   quants  n_chunk = ceil(n_col / chunk_n) chunks of chunk_words words a row; columns past n_col
 *           are zero
 *   scales  ceil(n_col / scale_n) times scale_words words a row (none for F32, F16, BF16)
 *           after the words of pm__type_table, which stand once before all rows
 *
 * so shaders read only uint, uvec2 and uvec4, aligned. A chunk is what an invocation loads and
 * decodes at once: at most 32 elements, of 4, 8 or 16 bytes; it takes the words that belong to it
 * from the scales plane, which holds all that is no quant. shaders/quant_<type>.glsl reads what the
 * pack function writes; the shader states the bit order. Types that no one multiplies with in
 * earnest (F64, integers) are decoded and become F32 planes.
 * source  the block structs of ggml, whose files these are */
#ifndef PM_FORMAT_QUANT_H
#define PM_FORMAT_QUANT_H

#include "../base/status.h"

typedef enum pm__type {
#define PM_QUANT(NAME, ...)      PM__TYPE_##NAME,
#define PM_QUANT_WIDE(NAME, ...) PM__TYPE_##NAME,
#include "quant.def"
    PM__TYPE_COUNT
} pm__type;

typedef struct pm__type_info {
    const char *name;   /* "Q8_0" */
    const char *file;   /* "q8_0", as in quant_q8_0.glsl and on command lines */
    const char *planes; /* the type whose planes a packed row has: its own name, or "F32" */
    uint32_t id;        /* in GGUF files */
    uint32_t block_n, block_bytes;
    uint32_t chunk_n, chunk_words;
    uint32_t scale_n, scale_words; /* 0: no scales plane */
    uint32_t half_at, n_half;      /* binary16 scales of a block, one after another */
} pm__type_info;

const pm__type_info *pm__type_get(pm__type type);

/* The block of a type by its id. */
typedef struct pm__type_block {
    const char *name; /* "Q4_K" */
    pm__type type;
    uint32_t n, bytes;
} pm__type_block;

/* errors  BAD_FILE: id (of a GGUF file) is unknown or was removed from the format; the sentence
 * names it */
pm_status pm__type_block_from_id(uint32_t id, pm__type_block *out);
/* The name of any type, living or removed; "unknown" if there never was one. */
const char *pm__type_id_name(uint32_t id);

/* Bytes of a row of n_col elements in a file; false if n_col is no multiple of the block or on
 * overflow. */
bool pm__type_row_bytes(pm__type type, uint64_t n_col, uint64_t *bytes);

/* row     n_col elements as the file holds them
 * out     [n_col] f32, bit for bit what ggml's decoder gives */
void pm__type_decode(pm__type type, const void *row, uint32_t n_col, float *out);

/* Whether weights are levels of a byte times a scale, and perhaps an offset, the same for at least
 * 16 neighbours, and the shader of the type says so (W_SPAN in types.glsl). */
bool pm__type_has_levels(pm__type type);

/* Chunks and words of one packed row. */
uint32_t pm__type_chunks(pm__type type, uint32_t n_col);
uint32_t pm__type_quant_words(pm__type type, uint32_t n_col);
uint32_t pm__type_scale_words(pm__type type, uint32_t n_col);
uint64_t pm__type_packed_bytes(pm__type type, uint32_t n_col);

/* Words that stand once before the rows of a scales plane: what the shader of the type looks
 * entries up in. NULL and *n 0 for types without. */
const uint32_t *pm__type_table(pm__type type, uint32_t *n);

/* Only writes to its outputs, each word once: they may be memory that is slow to read.
 * quants  out, [pm__type_quant_words]
 * scales  out, [pm__type_scale_words], or NULL if there are none */
void pm__type_pack(pm__type type, const void *row, uint32_t n_col, uint32_t *quants,
                   uint32_t *scales);
/* A block of any bytes becomes one of numbers whose size x decides: its scales become x, the
 * elements of F32, F16, BF16, F64 x itself. Types of integers stay as they are. */
void pm__type_put_scale(pm__type type, float x, void *block);

/* ---- for caches: F32, F16, Q8_0, Q4_0; and BF16 ---- */

/* x    [n_col] f32
 * row  out, the bytes that ggml's reference encoder without importances gives for numbers. A block
 *      with an infinity or a NaN decodes to NaNs */
void pm__type_encode(pm__type type, const float *x, uint32_t n_col, void *row);
/* Encodes [n_col] f32 and packs them. */
void pm__type_encode_packed(pm__type type, const float *x, uint32_t n_col, uint32_t *quants,
                            uint32_t *scales);
/* The way back: elements [first, first + n) of a packed row, whole blocks.
 * out  [n] f32, what pm__type_decode gives */
void pm__type_read(pm__type type, const uint32_t *quants, const uint32_t *scales, uint32_t first,
                   uint32_t n, float *out);

/* IEEE 754 binary16 to binary32, exact; and back, round to nearest even. A NaN stays one. */
float pm__f16_to_f32(uint16_t half);
uint16_t pm__f32_to_f16(float x);

#endif
