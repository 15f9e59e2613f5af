/* gguf.h: keys and tensors of a model, as the GGUF container (versions 2 and 3) has them, parsed
 * over a span of bytes that stays owned by the caller. What comes from several files, or from files
 * of another kind, is put into the same form (source.h), so nobody above needs to know.
 *
 * Every count, length and offset is checked against the bytes that are there before anything is
 * allocated; what is allocated is in proportion to the records the file really holds. Nothing is
 * copied but the index: strings, arrays and tensor data point into the span.
 * source  the container section of the GGUF specification, github.com/ggml-org/ggml docs/gguf.md */
#ifndef PM_FORMAT_GGUF_H
#define PM_FORMAT_GGUF_H

#include "../base/arena.h"
#include "../base/status.h"
#include "quant.h"

/* X(NAME, name, bytes; 0 if they vary), in the order of their ids in files. */
#define PM__GGUF_TYPE_LIST(X)                                                                      \
    X(U8, u8, 1)                                                                                   \
    X(I8, i8, 1)                                                                                   \
    X(U16, u16, 2)                                                                                 \
    X(I16, i16, 2)                                                                                 \
    X(U32, u32, 4)                                                                                 \
    X(I32, i32, 4)                                                                                 \
    X(F32, f32, 4)                                                                                 \
    X(BOOL, bool, 1)                                                                               \
    X(STRING, string, 0)                                                                           \
    X(ARRAY, array, 0)                                                                             \
    X(U64, u64, 8)                                                                                 \
    X(I64, i64, 8)                                                                                 \
    X(F64, f64, 8)

typedef enum pm__gguf_type {
#define PM__GGUF_ENUM(NAME, name, bytes) PM__GGUF_##NAME,
    PM__GGUF_TYPE_LIST(PM__GGUF_ENUM)
#undef PM__GGUF_ENUM
        PM__GGUF_TYPE_COUNT
} pm__gguf_type;

enum {
    PM__GGUF_MOST_RECORDS = 1 << 18,    /* keys, and tensors: more are refused */
    PM__GGUF_MOST_NAME = 65535,         /* bytes of a name, and at least 1 */
    PM__GGUF_LEAST_ALIGNMENT = 8,       /* general.alignment, a power of two */
    PM__GGUF_MOST_ALIGNMENT = 64 * 1024 /* the largest page in use */
};

typedef struct pm__span { /* bytes of the file, not closed by a zero */
    const char *data;
    size_t size;
} pm__span;

typedef struct pm__gguf_key {
    pm__span name; /* UTF-8 without control characters */
    pm__gguf_type type;
    pm__gguf_type element; /* of an array */
    uint64_t n;            /* elements of an array, else 1 */
    /* Unaligned; of arrays the first element; strings: 8-byte length, then bytes. */
    const uint8_t *value;
    size_t value_bytes;
} pm__gguf_key;

/* Rows of a tensor that do not follow one another in memory. */
typedef struct pm__gguf_rows {
    const uint8_t *const *parts; /* each of n_row rows; all of them one after the other */
    uint64_t n_row;              /* of a part */
    /* 0, or rows of a head of which all even ones lie before all odd ones (the way Hugging Face
     * keeps what RoPE turns in neighbours). */
    uint32_t halves;
} pm__gguf_rows;

typedef struct pm__gguf_tensor {
    const char *name; /* closed by a zero; UTF-8 without control characters */
    pm__type type;
    uint32_t type_id; /* in the file, for pm__type_id_name */
    uint32_t n_dim;
    uint64_t shape[4];   /* innermost first, a multiple of the block; unused ones are 1 */
    uint64_t offset;     /* from the start of its file; 0 if that is no GGUF file */
    const uint8_t *data; /* NULL: see rows */
    const pm__gguf_rows *rows;
    uint64_t bytes;
    uint32_t file; /* which of several */
} pm__gguf_tensor;

typedef struct pm__gguf {
    uint32_t version;
    uint64_t n_key, n_tensor;
    const pm__gguf_key *keys;
    const pm__gguf_tensor *tensors; /* in the order of the file */
    pm__arena arena;
    /* Names in order, for searches that no choice of names can slow down. */
    const struct pm__gguf_name *key_names, *tensor_names;
} pm__gguf;

/* A file without tensors (a vocabulary) and bytes after the last tensor are no failure. A failed
 * init leaves nothing to finish.
 * errors  BAD_FILE (its sentence begins with "gguf: "), OUT_OF_MEMORY */
pm_status pm__gguf_init(pm__gguf *gguf, const uint8_t *data, size_t size);
void pm__gguf_finish(pm__gguf *gguf);

/* Takes keys and tensors that were put together elsewhere, in memory that outlives the index.
 * kind  what the sentence of a failure begins with
 * errors  BAD_FILE: a name is there twice; OUT_OF_MEMORY. A failed call leaves nothing to
 *         finish. */
pm_status pm__gguf_make(pm__gguf *gguf, const char *kind, const pm__gguf_key *keys, size_t n_key,
                        const pm__gguf_tensor *tensors, size_t n_tensor);

/* Row `row` of all that the tensor has; row_bytes is what each has. */
const uint8_t *pm__gguf_row(const pm__gguf_tensor *tensor, uint64_t row, uint64_t row_bytes);

/* NULL if there is none. */
const pm__gguf_key *pm__gguf_find_key(const pm__gguf *gguf, const char *name);
const pm__gguf_tensor *pm__gguf_find_tensor(const pm__gguf *gguf, const char *name);

/* Typed reads of a key that exists; false if its type does not fit (u64 takes any integer type >=
 * 0, f64 any float type). */
bool pm__gguf_u64(const pm__gguf_key *key, uint64_t *out);
bool pm__gguf_f64(const pm__gguf_key *key, double *out);
bool pm__gguf_bool(const pm__gguf_key *key, bool *out);
bool pm__gguf_string(const pm__gguf_key *key, pm__span *out);
/* Element i of an array of numbers; false past its end, too. */
bool pm__gguf_array_u64(const pm__gguf_key *key, uint64_t i, uint64_t *out);
bool pm__gguf_array_i64(const pm__gguf_key *key, uint64_t i, int64_t *out);
bool pm__gguf_array_f64(const pm__gguf_key *key, uint64_t i, double *out);

/* All strings of an array, [key->n], allocated in `arena`; false if it is no array of strings (or,
 * with pm__fail_memory's sentence, there is no memory). */
bool pm__gguf_strings(const pm__gguf_key *key, pm__arena *arena, const pm__span **out);

/* The value as text for people: at most size bytes with the closing zero, long values shortened
 * with "...", always UTF-8 without control characters. */
void pm__gguf_print_value(const pm__gguf_key *key, char *out, size_t size);

const char *pm__gguf_type_name(pm__gguf_type type);
uint32_t pm__gguf_type_bytes(pm__gguf_type type); /* 0 for strings and arrays */

#endif
