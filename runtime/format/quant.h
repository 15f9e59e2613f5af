/* quant.h: tensor element types: f32 to them and back on the CPU, and packing into planes for the
 * GPU.
 *
 * A GGUF block has an awkward size (18, 34, ... bytes). At load a row is split into planes of
 * 4-byte words:
 *
 *   quants  n_chunk = ceil(n_col / chunk_n) chunks of 16 bytes a row; columns past n_col are zero
 *   scales  n_scale = ceil(n_col / scale_n) words a row (none for F32, F16, BF16)
 *
 * so shaders read only uint and uvec4, aligned. shaders/quant_<type>.glsl reads what the pack
 * function writes; both state the bit order.
 * source  the block structs of ggml, whose files these are */
#ifndef PM_FORMAT_QUANT_H
#define PM_FORMAT_QUANT_H

#include "../base/status.h"

typedef enum pm__type {
#define PM_QUANT(NAME, name, id, block_n, block_bytes, chunk_n, scale_n) PM__TYPE_##NAME,
#include "quant.def"
    PM__TYPE_COUNT
} pm__type;

typedef struct pm__type_info {
    const char *name; /* "Q8_0" */
    const char *file; /* "q8_0", as in quant_q8_0.glsl */
    uint32_t id;      /* in GGUF files */
    uint32_t block_n, block_bytes;
    uint32_t chunk_n, scale_n;
} pm__type_info;

const pm__type_info *pm__type_get(pm__type type);

/* The block of a type of the field, whether pumice can read it or not. */
typedef struct pm__type_block {
    const char *name; /* "Q4_K" */
    pm__type type;    /* PM__TYPE_COUNT: pumice cannot read it yet */
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

/* x    [n_col] f32
 * row  out, the bytes that ggml's reference encoder without importances gives for numbers. A block
 *      with an infinity or a NaN decodes to NaNs */
void pm__type_encode(pm__type type, const float *x, uint32_t n_col, void *row);

/* Words of one packed row. */
uint32_t pm__type_quant_words(pm__type type, uint32_t n_col);
uint32_t pm__type_scale_words(pm__type type, uint32_t n_col);
uint64_t pm__type_packed_bytes(pm__type type, uint32_t n_col);

/* Only writes to its outputs, each word once: they may be memory that is slow to read.
 * quants  out, [pm__type_quant_words]
 * scales  out, [pm__type_scale_words], or NULL if there are none */
void pm__type_pack(pm__type type, const void *row, uint32_t n_col, uint32_t *quants,
                   uint32_t *scales);
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
