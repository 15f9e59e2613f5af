/* gguf.h: the GGUF container (versions 2 and 3), parsed over a span of bytes that stays owned by the caller.
 *
 * Every count, length and offset is checked against the bytes that are there before anything is allocated;
 * what is allocated is in proportion to the records the file really holds. Nothing is copied but the index:
 * strings, arrays and tensor data point into the span.
 * source  the container section of the GGUF specification, github.com/ggml-org/ggml docs/gguf.md */
#ifndef PM_FORMAT_GGUF_H
#define PM_FORMAT_GGUF_H

#include "../base/arena.h"
#include "../base/status.h"
#include "quant.h"

typedef enum pm__gguf_type {
    PM__GGUF_U8,
    PM__GGUF_I8,
    PM__GGUF_U16,
    PM__GGUF_I16,
    PM__GGUF_U32,
    PM__GGUF_I32,
    PM__GGUF_F32,
    PM__GGUF_BOOL,
    PM__GGUF_STRING,
    PM__GGUF_ARRAY,
    PM__GGUF_U64,
    PM__GGUF_I64,
    PM__GGUF_F64,
    PM__GGUF_TYPE_COUNT
} pm__gguf_type;

typedef struct pm__span { /* bytes of the file, not closed by a zero */
    const char *data;
    size_t size;
} pm__span;

typedef struct pm__gguf_key {
    pm__span name;
    pm__gguf_type type;
    pm__gguf_type element; /* of an array */
    uint64_t n;            /* elements of an array, else 1 */
    const uint8_t *value;  /* unaligned; strings: 8-byte length, then bytes */
    size_t value_bytes;
} pm__gguf_key;

typedef struct pm__gguf_tensor {
    const char *name; /* closed by a zero */
    pm__type type;
    uint32_t n_dim;
    uint64_t shape[4]; /* innermost first; unused ones are 1 */
    uint64_t offset;   /* from the start of the file */
    const uint8_t *data;
    uint64_t bytes;
} pm__gguf_tensor;

typedef struct pm__gguf {
    uint32_t version;
    uint64_t n_key, n_tensor;
    const pm__gguf_key *keys;
    const pm__gguf_tensor *tensors; /* in the order of the file */
    const uint8_t *data;
    size_t size;
    pm__arena arena;
    struct pm__gguf_index *index; /* names to positions */
} pm__gguf;

/* errors  BAD_FILE, UNSUPPORTED (a tensor type of the field that pumice cannot read yet, by name); the sentence
 *         begins with "gguf: ". A failed init leaves nothing to finish. */
pm_status pm__gguf_init(pm__gguf *gguf, const uint8_t *data, size_t size);
void pm__gguf_finish(pm__gguf *gguf);

/* NULL if there is none. */
const pm__gguf_key *pm__gguf_find_key(const pm__gguf *gguf, const char *name);
const pm__gguf_tensor *pm__gguf_find_tensor(const pm__gguf *gguf, const char *name);

/* Typed reads of a key that exists; false if its type does not fit (u64 takes any integer type >= 0,
 * f64 any float type). */
bool pm__gguf_u64(const pm__gguf_key *key, uint64_t *out);
bool pm__gguf_f64(const pm__gguf_key *key, double *out);
bool pm__gguf_bool(const pm__gguf_key *key, bool *out);
bool pm__gguf_string(const pm__gguf_key *key, pm__span *out);
/* Element i of an array of numbers. */
bool pm__gguf_array_u64(const pm__gguf_key *key, uint64_t i, uint64_t *out);
bool pm__gguf_array_i64(const pm__gguf_key *key, uint64_t i, int64_t *out);
bool pm__gguf_array_f64(const pm__gguf_key *key, uint64_t i, double *out);

/* All strings of an array, [key->n], allocated in `arena`; false if it is no array of strings. */
bool pm__gguf_strings(const pm__gguf_key *key, pm__arena *arena, const pm__span **out);

/* The value as text for people: at most size bytes with the closing zero, long arrays shortened with "...". */
void pm__gguf_print_value(const pm__gguf_key *key, char *out, size_t size);

const char *pm__gguf_type_name(pm__gguf_type type);

#endif
