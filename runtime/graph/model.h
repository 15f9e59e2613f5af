/* model.h: what an architecture needs of a model file (keys and tensors), and what it gives
 * (weights and a way to build the graph). */
#ifndef PM_GRAPH_MODEL_H
#define PM_GRAPH_MODEL_H

#include "../format/gguf.h"
#include "build.h"

typedef struct pm__arch pm__arch;

typedef struct pm__weight {
    pm__tensor tensor;   /* kind PM__WEIGHT */
    const uint8_t *data; /* in the file map, rows as the file holds them; NULL: they lie apart */
    const pm__gguf_tensor *source; /* where data is NULL; NULL: a constant */
    uint64_t first_row;            /* of the source; of a part of a vector its first column */
    struct pm__weight *next;       /* another part of the source, or NULL */
} pm__weight;

/* Row `row` as the file holds it. */
static inline const uint8_t *pm__weight_row(const pm__weight *weight, uint64_t row,
                                            uint64_t row_bytes) {
    return weight->data != NULL ? weight->data + row * row_bytes
                                : pm__gguf_row(weight->source, weight->first_row + row, row_bytes);
}

enum {
    PM__MOST_LAYER = 1024 /* the largest model of the field has 126 */
};

#define PM__CLAIM_NONE    UINT32_MAX       /* of a tensor that nobody has asked for */
#define PM__CLAIM_IGNORED (UINT32_MAX - 1) /* one that the forward pass does not need */

typedef struct pm__model_def {
    const pm__arch *arch;
    const pm__gguf *gguf;
    void *self;           /* the architecture's own struct */
    pm__weight **weights; /* [n_weight] */
    uint32_t n_weight;
    size_t weight_capacity;
    uint32_t n_vocab, n_ctx_train, n_embd, n_layer; /* every architecture fills these */
    uint32_t decoder_start; /* of one with an encoder: the token that answers begin with */
    pm__arena arena;
    pm_status status; /* sticky, as in pm__graph */
    uint32_t *claims; /* [gguf->n_tensor] index of its first weight, or a PM__CLAIM_... */
} pm__model_def;

/* An architecture: a file in models/ and a row in models/models.def. */
struct pm__arch {
    const char *name; /* general.architecture */
    bool encoder;     /* every row sees all of its sequence: hidden states, and no text */
    size_t self_bytes;
    /* Reads hyper-parameters and claims tensors. Absurd values are BAD_FILE with the key's name. */
    void (*load)(pm__model_def *def, void *self);
    /* Appends the forward pass, logits last. */
    pm__t (*build)(pm__graph *g, const pm__model_def *def, const void *self);
};

/* Finds the architecture and lets it load.
 * errors  UNSUPPORTED (names the architecture, or a tensor that nobody claimed), BAD_FILE,
 *         OUT_OF_MEMORY */
pm_status pm__model_def_init(pm__model_def *def, const pm__gguf *gguf);
void pm__model_def_finish(pm__model_def *def);
/* What a session wants of a model's graph. */
typedef struct pm__build_desc {
    pm__cache_types caches;
    uint32_t n_ctx; /* positions a sequence will have; some models turn them otherwise in a long
                       context */
    bool hidden;    /* the last hidden states in place of logits; an encoder has nothing else */
} pm__build_desc;

/* Init, build, close.
 * errors  ARGUMENT: the model's heads cannot be cached in these types; OUT_OF_MEMORY */
pm_status pm__model_def_build(const pm__model_def *def, const pm__build_desc *desc, pm__graph *g);
/* errors  UNSUPPORTED: a tensor that nobody claimed, or not all of it */
pm_status pm__model_def_check_claims(const pm__model_def *def);

/* Keys. `key` follows "<architecture>."; a missing key without default, or a value outside [least,
 * most], sets def->status. */
uint32_t pm__key_u32(pm__model_def *def, const char *key, uint32_t least, uint32_t most);
uint32_t pm__key_u32_or(pm__model_def *def, const char *key, uint32_t least, uint32_t most,
                        uint32_t otherwise);
/* Of a layer, where the key may be an array with one value a layer, or one value for all. */
uint32_t pm__key_u32_layer(pm__model_def *def, const char *key, uint32_t layer, uint32_t least,
                           uint32_t most);
uint32_t pm__key_u32_layer_or(pm__model_def *def, const char *key, uint32_t layer, uint32_t least,
                              uint32_t most, uint32_t otherwise);
/* Finite and in [least, most]. */
float pm__key_f32(pm__model_def *def, const char *key, float least, float most);
float pm__key_f32_or(pm__model_def *def, const char *key, float least, float most, float otherwise);
bool pm__key_bool_or(pm__model_def *def, const char *key, bool otherwise);
/* Whether the key is an array of truth values; *out: that of a layer. */
bool pm__key_flag_layer(pm__model_def *def, const char *key, uint32_t layer, bool *out);
bool pm__key_exists(const pm__model_def *def, const char *key);
/* Whether the key exists and is this string. */
bool pm__key_is(pm__model_def *def, const char *key, const char *text);
/* Fails with UNSUPPORTED if the key exists and is not zero or false: features that are not built
 * yet must not be ignored. */
void pm__key_refuse(pm__model_def *def, const char *key, const char *why);

/* Tensors; the name is formatted. A matrix must be exactly [n_row, n_col] (file order: n_col
 * innermost), a vector have n_col elements in any shape. What is claimed again is the same weight.
 * The ones with _or_null give NULL, without failing, if the file has none. */
pm__t pm__matrix(pm__model_def *def, uint32_t n_row, uint32_t n_col, const char *fmt, ...)
    PM__PRINTF(4, 5);
pm__t pm__matrix_or_null(pm__model_def *def, uint32_t n_row, uint32_t n_col, const char *fmt, ...)
    PM__PRINTF(4, 5);
pm__t pm__vector(pm__model_def *def, uint32_t n_col, const char *fmt, ...) PM__PRINTF(3, 4);
pm__t pm__vector_or_null(pm__model_def *def, uint32_t n_col, const char *fmt, ...) PM__PRINTF(3, 4);
/* Rows [first, first + n_row) of a matrix of n_all rows, elements [first, first + n) of a vector of
 * n_all, as weights of their own. All parts must be claimed in the end. */
pm__t pm__matrix_rows(pm__model_def *def, uint32_t n_all, uint32_t first, uint32_t n_row,
                      uint32_t n_col, const char *fmt, ...) PM__PRINTF(6, 7);
pm__t pm__matrix_rows_or_null(pm__model_def *def, uint32_t n_all, uint32_t first, uint32_t n_row,
                              uint32_t n_col, const char *fmt, ...) PM__PRINTF(6, 7);
pm__t pm__vector_part(pm__model_def *def, uint32_t n_all, uint32_t first, uint32_t n,
                      const char *fmt, ...) PM__PRINTF(5, 6);
pm__t pm__vector_part_or_null(pm__model_def *def, uint32_t n_all, uint32_t first, uint32_t n,
                              const char *fmt, ...) PM__PRINTF(5, 6);
/* A tensor [n_in, n_out, n_expert] of the file as a matrix [n_expert * n_out, n_in]. */
pm__t pm__experts(pm__model_def *def, uint32_t n_expert, uint32_t n_out, uint32_t n_in,
                  const char *fmt, ...) PM__PRINTF(5, 6);
pm__t pm__experts_or_null(pm__model_def *def, uint32_t n_expert, uint32_t n_out, uint32_t n_in,
                          const char *fmt, ...) PM__PRINTF(5, 6);
/* A weight [1, n] that load() computes; the values are copied. */
pm__t pm__constant(pm__model_def *def, const char *name, const float *values, uint32_t n);

/* Says that matrices are multiplied with the same rows, so that a device may have one after the
 * other and multiply once; or that vectors are added to what comes of it. Nothing happens where one
 * is NULL, they differ in type or columns, have scales, or are pieces of something already. */
void pm__join_matrices(pm__model_def *def, const pm__t *weights, uint32_t n);
void pm__join_vectors(pm__model_def *def, const pm__t *weights, uint32_t n);

/* Values of a vector, [n_col], for load() to compute with; NULL after a failure. */
const float *pm__vector_values(pm__model_def *def, pm__t vector);

bool pm__tensor_exists(const pm__model_def *def, const char *fmt, ...) PM__PRINTF(2, 3);
/* Claims a tensor that the forward pass does not need, if the file has it. */
void pm__tensor_ignore(pm__model_def *def, const char *fmt, ...) PM__PRINTF(2, 3);
/* Rows of a tensor that must be there, without claiming it; for sizes that no key gives. At
 * least 1. */
uint32_t pm__tensor_rows(pm__model_def *def, const char *fmt, ...) PM__PRINTF(2, 3);

#endif
