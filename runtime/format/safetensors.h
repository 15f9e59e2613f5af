/* safetensors.h: the safetensors container, parsed over a span of bytes that stays owned by the
 * caller.
 *
 * A file is a length of 8 bytes, a JSON object of that many bytes (name -> dtype, shape,
 * data_offsets; "__metadata__" -> texts) and the data, in which tensors follow one another without
 * holes and to the end. Everything is checked before it is used; the index that is kept is in
 * proportion to the header.
 * source  the format section of the README, github.com/huggingface/safetensors */
#ifndef PM_FORMAT_SAFETENSORS_H
#define PM_FORMAT_SAFETENSORS_H

#include "../base/arena.h"
#include "quant.h"

/* X(name, bits, id of the type in GGUF files that has the same bytes; PM__NO_TYPE_ID: none) */
#define PM__SAFETENSORS_TYPE_LIST(X)                                                               \
    X(F64, 64, 28)                                                                                 \
    X(F32, 32, 0)                                                                                  \
    X(F16, 16, 1)                                                                                  \
    X(BF16, 16, 30)                                                                                \
    X(I64, 64, 27)                                                                                 \
    X(I32, 32, 26)                                                                                 \
    X(I16, 16, 25)                                                                                 \
    X(I8, 8, 24)                                                                                   \
    X(U64, 64, PM__NO_TYPE_ID)                                                                     \
    X(U32, 32, PM__NO_TYPE_ID)                                                                     \
    X(U16, 16, PM__NO_TYPE_ID)                                                                     \
    X(U8, 8, PM__NO_TYPE_ID)                                                                       \
    X(BOOL, 8, PM__NO_TYPE_ID)                                                                     \
    X(C64, 64, PM__NO_TYPE_ID)                                                                     \
    X(F8_E4M3, 8, PM__NO_TYPE_ID)                                                                  \
    X(F8_E5M2, 8, PM__NO_TYPE_ID)                                                                  \
    X(F8_E8M0, 8, PM__NO_TYPE_ID)                                                                  \
    X(F6_E3M2, 6, PM__NO_TYPE_ID)                                                                  \
    X(F6_E2M3, 6, PM__NO_TYPE_ID)                                                                  \
    X(F4, 4, PM__NO_TYPE_ID)

#define PM__NO_TYPE_ID UINT32_MAX

enum {
    PM__SAFETENSORS_MOST_DIM = 8,
    PM__SAFETENSORS_MOST_NAME = 1024,        /* bytes; closed by a zero beyond it */
    PM__SAFETENSORS_MOST_HEADER = 100000000, /* bytes, as the format says */
    PM__SAFETENSORS_MOST_RECORDS = 1 << 18,  /* tensors */
    PM__SAFETENSORS_MOST_VALUES = 1 << 21    /* of JSON in a header */
};

typedef struct pm__safetensor {
    const char *name;  /* UTF-8 without control characters */
    const char *dtype; /* as in the list above */
    uint32_t type_id;
    uint32_t n_dim;
    uint64_t shape[PM__SAFETENSORS_MOST_DIM]; /* outermost first; any may be 0 */
    const uint8_t *data;
    uint64_t bytes;
} pm__safetensor;

typedef struct pm__safetensors {
    pm__safetensor *tensors; /* by name */
    size_t n;
    pm__arena arena;
} pm__safetensors;

/* A failed init leaves nothing to finish.
 * errors  BAD_FILE (its sentence begins with "safetensors: "), OUT_OF_MEMORY */
pm_status pm__safetensors_init(pm__safetensors *file, const uint8_t *data, size_t size);
void pm__safetensors_finish(pm__safetensors *file);

/* NULL if there is none. */
const pm__safetensor *pm__safetensors_find(const pm__safetensors *file, const char *name);

#endif
