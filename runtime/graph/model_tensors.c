/* model_tensors.c: what a model claims of the file's tensors: whole, in rows, or as experts. */
#include "../base/checked.h"
#include "../base/grow.h"
#include "model.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MOST_NAME = 128 };

static const pm__gguf_tensor *find_tensor(const pm__model_def *def, const char *name) {
    return def->status == PM_OK ? pm__gguf_find_tensor(def->gguf, name) : NULL;
}

/* What is claimed of a tensor: rows [first, first + n_row) of the n_all it must have; of a vector,
 * which is one row however the file cuts it, columns. */
typedef struct claim {
    uint32_t n_slice, n_all, first, n_row, n_col;
    bool vector, optional;
} claim;

static bool has_shape(const pm__gguf_tensor *t, const claim *c) {
    uint64_t n = 1;
    if (!c->vector)
        return t->shape[0] == c->n_col && t->shape[1] == c->n_all / c->n_slice &&
               t->shape[2] == c->n_slice && t->shape[3] == 1;
    for (int i = 0; i < 4; i++)
        if (!pm__mul_u64(n, t->shape[i], &n))
            return false;
    return n == c->n_all;
}

static void wrong_shape(pm__model_def *def, const pm__gguf_tensor *t, const claim *c) {
    char wanted[64];
    if (c->vector)
        snprintf(wanted, sizeof wanted, "%" PRIu32 ", 1", c->n_all);
    else
        snprintf(wanted, sizeof wanted, c->n_slice > 1 ? "%u, %u, %u" : "%u, %u", c->n_col,
                 c->n_all / c->n_slice, c->n_slice);
    def->status = pm__fail(PM_BAD_FILE,
                           "model: tensor '%s' is [%" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64
                           "], but the keys of the file make it [%s]",
                           t->name, t->shape[0], t->shape[1], t->shape[2], t->shape[3], wanted);
}

static pm__weight *add_weight(pm__model_def *def, const char *name, pm__type type, uint32_t n_row,
                              uint32_t n_col) {
    pm__weight *w = pm__arena_alloc(&def->arena, sizeof *w);
    const pm_status status = w != NULL ? pm__grow("model", &def->weights, &def->weight_capacity,
                                                  def->n_weight, sizeof *def->weights)
                                       : PM_OUT_OF_MEMORY;
    if (status != PM_OK) {
        def->status = status;
        return NULL;
    }
    *w = (pm__weight){.tensor = {.name = name,
                                 .kind = PM__WEIGHT,
                                 .type = type,
                                 .rows = PM__ROWS_FIXED,
                                 .n_row = n_row,
                                 .n_col = n_col,
                                 .index = def->n_weight}};
    def->weights[def->n_weight++] = w;
    return w;
}

static pm__t find_scale(pm__model_def *def, const pm__gguf_tensor *matrix, uint32_t n_matrix);

/* Elements [first, first + n_col) of a vector, whatever its type is and however the file cuts
 * it. */
static const uint8_t *decode_vector(pm__model_def *def, const pm__gguf_tensor *t, const claim *c) {
    const uint32_t n_row_col = (uint32_t)t->shape[0];
    float *all = pm__arena_array(&def->arena, c->n_all, sizeof *all);
    uint64_t row_bytes = 0;
    if (all == NULL) {
        def->status = PM_OUT_OF_MEMORY;
        return NULL;
    }
    pm__type_row_bytes(t->type, n_row_col, &row_bytes);
    for (uint32_t r = 0; r < c->n_all / n_row_col; r++)
        pm__type_decode(t->type, pm__gguf_row(t, r, row_bytes), n_row_col,
                        all + (size_t)r * n_row_col);
    return (const uint8_t *)(all + c->first);
}

/* Vectors become F32, which is what kernels read; matrices stay in the file. */
static void place_part(pm__model_def *def, pm__weight *w, const pm__gguf_tensor *t,
                       const claim *c) {
    uint64_t row_bytes = 0;
    w->first_row = c->first;
    w->source = t;
    if (c->vector && (t->type != PM__TYPE_F32 || t->data == NULL)) {
        w->data = decode_vector(def, t, c);
        w->tensor.type = PM__TYPE_F32;
    } else if (t->data != NULL) {
        pm__type_row_bytes(t->type, c->vector ? 1 : c->n_col, &row_bytes);
        w->data = t->data + c->first * row_bytes;
    }
}

static pm__t claim_part(pm__model_def *def, const pm__gguf_tensor *t, const claim *c) {
    assert((uint64_t)c->first + (c->vector ? c->n_col : c->n_row) <= c->n_all);
    uint32_t *place = &def->claims[t - def->gguf->tensors];
    const bool is_new = *place == PM__CLAIM_NONE || *place == PM__CLAIM_IGNORED;
    pm__weight *last = is_new ? NULL : def->weights[*place];
    for (pm__weight *w = last; w != NULL; w = w->next) {
        if (w->first_row == c->first && w->tensor.n_row == c->n_row && w->tensor.n_col == c->n_col)
            return &w->tensor;
        last = w;
    }
    pm__weight *w = add_weight(def, t->name, t->type, c->n_row, c->n_col);
    if (w == NULL)
        return NULL;
    place_part(def, w, t, c);
    if (last != NULL)
        last->next = w;
    else
        *place = w->tensor.index;
    if (c->n_slice > 0)
        w->tensor.scale = find_scale(def, t, c->n_slice);
    return def->status == PM_OK ? &w->tensor : NULL;
}

/* blk.0.ffn_up.scale of blk.0.ffn_up.weight, where it has a number for each matrix. What quantised
 * activations were scaled by is no part of the weight. */
static pm__t find_scale(pm__model_def *def, const pm__gguf_tensor *matrix, uint32_t n_matrix) {
    const claim whole = {.n_all = n_matrix, .n_row = 1, .n_col = n_matrix, .vector = true};
    static const char suffix[] = ".weight";
    const size_t n = strlen(matrix->name), n_suffix = sizeof suffix - 1;
    char name[MOST_NAME];
    if (n < n_suffix || strcmp(matrix->name + n - n_suffix, suffix) != 0)
        return NULL;
    const int n_base = (int)(n - n_suffix);
    pm__tensor_ignore(def, "%.*s.input_scale", n_base, matrix->name);
    snprintf(name, sizeof name, "%.*s.scale", n_base, matrix->name);
    const pm__gguf_tensor *t = find_tensor(def, name);
    return t != NULL && has_shape(t, &whole) ? claim_part(def, t, &whole) : NULL;
}

static pm__t take(pm__model_def *def, const claim *c, const char *fmt, va_list args) {
    char name[MOST_NAME];
    vsnprintf(name, sizeof name, fmt, args);
    const pm__gguf_tensor *t = find_tensor(def, name);
    if (t == NULL) {
        if (!c->optional && def->status == PM_OK)
            def->status = pm__fail(PM_BAD_FILE, "model: the file has no tensor '%s'", name);
        return NULL;
    }
    if (!has_shape(t, c)) {
        wrong_shape(def, t, c);
        return NULL;
    }
    return claim_part(def, t, c);
}

/* The calls of model.h: their parameters, and what of the tensor they claim. */
#define TAKE(def, fmt, ...)                                                                        \
    do {                                                                                           \
        const claim c_ = {__VA_ARGS__};                                                            \
        va_list args_;                                                                             \
        va_start(args_, fmt);                                                                      \
        pm__t t_ = take(def, &c_, fmt, args_);                                                     \
        va_end(args_);                                                                             \
        return t_;                                                                                 \
    } while (0)

pm__t pm__matrix(pm__model_def *def, uint32_t n_row, uint32_t n_col, const char *fmt, ...) {
    TAKE(def, fmt, .n_slice = 1, .n_all = n_row, .n_row = n_row, .n_col = n_col);
}

pm__t pm__matrix_or_null(pm__model_def *def, uint32_t n_row, uint32_t n_col, const char *fmt, ...) {
    TAKE(def, fmt, .n_slice = 1, .n_all = n_row, .n_row = n_row, .n_col = n_col, .optional = true);
}

pm__t pm__vector(pm__model_def *def, uint32_t n_col, const char *fmt, ...) {
    TAKE(def, fmt, .n_all = n_col, .n_row = 1, .n_col = n_col, .vector = true);
}

pm__t pm__vector_or_null(pm__model_def *def, uint32_t n_col, const char *fmt, ...) {
    TAKE(def, fmt, .n_all = n_col, .n_row = 1, .n_col = n_col, .vector = true, .optional = true);
}

pm__t pm__matrix_rows(pm__model_def *def, uint32_t n_all, uint32_t first, uint32_t n_row,
                      uint32_t n_col, const char *fmt, ...) {
    TAKE(def, fmt, .n_slice = 1, .n_all = n_all, .first = first, .n_row = n_row, .n_col = n_col);
}

pm__t pm__matrix_rows_or_null(pm__model_def *def, uint32_t n_all, uint32_t first, uint32_t n_row,
                              uint32_t n_col, const char *fmt, ...) {
    TAKE(def, fmt, .n_slice = 1, .n_all = n_all, .first = first, .n_row = n_row, .n_col = n_col,
         .optional = true);
}

pm__t pm__vector_part(pm__model_def *def, uint32_t n_all, uint32_t first, uint32_t n,
                      const char *fmt, ...) {
    TAKE(def, fmt, .n_all = n_all, .first = first, .n_row = 1, .n_col = n, .vector = true);
}

pm__t pm__vector_part_or_null(pm__model_def *def, uint32_t n_all, uint32_t first, uint32_t n,
                              const char *fmt, ...) {
    TAKE(def, fmt, .n_all = n_all, .first = first, .n_row = 1, .n_col = n, .vector = true,
         .optional = true);
}

/* Rows of all experts together; keys of the file may make them too many. */
static uint32_t rows_of_experts(pm__model_def *def, uint32_t n_expert, uint32_t n_out) {
    const uint64_t n = (uint64_t)n_expert * n_out;
    if (n == 0 || n > INT32_MAX) {
        if (def->status == PM_OK)
            def->status = pm__fail(PM_BAD_FILE, "model: %" PRIu32 " experts of %" PRIu32 " rows",
                                   n_expert, n_out);
        return 1;
    }
    return (uint32_t)n;
}

pm__t pm__experts(pm__model_def *def, uint32_t n_expert, uint32_t n_out, uint32_t n_in,
                  const char *fmt, ...) {
    const uint32_t n_all = rows_of_experts(def, n_expert, n_out);
    TAKE(def, fmt, .n_slice = n_expert, .n_all = n_all, .n_row = n_all, .n_col = n_in);
}

pm__t pm__experts_or_null(pm__model_def *def, uint32_t n_expert, uint32_t n_out, uint32_t n_in,
                          const char *fmt, ...) {
    const uint32_t n_all = rows_of_experts(def, n_expert, n_out);
    TAKE(def, fmt, .n_slice = n_expert, .n_all = n_all, .n_row = n_all, .n_col = n_in,
         .optional = true);
}

pm__t pm__constant(pm__model_def *def, const char *name, const float *values, uint32_t n) {
    if (def->status != PM_OK)
        return NULL;
    float *data = pm__arena_array(&def->arena, n, sizeof *data);
    const char *kept = pm__arena_string(&def->arena, name, strlen(name));
    if (data == NULL || kept == NULL) {
        def->status = PM_OUT_OF_MEMORY;
        return NULL;
    }
    memcpy(data, values, n * sizeof *data);
    pm__weight *w = add_weight(def, kept, PM__TYPE_F32, 1, n);
    if (w == NULL)
        return NULL;
    w->data = (const uint8_t *)data;
    return &w->tensor;
}

/* ---- neighbours ------------------------------------------------------------------------------ */

static bool can_join(const pm__t *weights, uint32_t n, bool vectors, uint64_t *n_all) {
    *n_all = 0;
    for (uint32_t i = 0; i < n; i++) {
        const pm__t w = weights[i];
        if (w == NULL || w->whole != NULL || w->scale != NULL || w->type != weights[0]->type ||
            (vectors ? w->n_row != 1 : w->n_col != weights[0]->n_col))
            return false;
        for (uint32_t k = 0; k < i; k++)
            if (weights[k] == w)
                return false;
        *n_all += vectors ? w->n_col : w->n_row;
    }
    return *n_all <= INT32_MAX;
}

/* "a + b" */
static const char *join_names(pm__model_def *def, const pm__t *weights, uint32_t n) {
    char text[4 * MOST_NAME] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < n && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%s", i > 0 ? " + " : "",
                                 weights[i]->name);
    return pm__arena_string(&def->arena, text, strlen(text));
}

static void join(pm__model_def *def, const pm__t *weights, uint32_t n, bool vectors) {
    uint64_t n_all;
    if (def->status != PM_OK || !can_join(weights, n, vectors, &n_all))
        return;
    const char *name = join_names(def, weights, n);
    pm__t *pieces = pm__arena_array(&def->arena, n, sizeof *pieces);
    pm__weight *whole = NULL;
    if (name == NULL || pieces == NULL)
        def->status = PM_OUT_OF_MEMORY;
    else
        whole = add_weight(def, name, weights[0]->type, vectors ? 1 : (uint32_t)n_all,
                           vectors ? (uint32_t)n_all : weights[0]->n_col);
    if (whole == NULL)
        return;
    for (uint32_t i = 0; i < n; i++) {
        pieces[i] = weights[i];
        def->weights[weights[i]->index]->tensor.whole = &whole->tensor;
    }
    whole->tensor.joined = pieces;
    whole->tensor.n_joined = n;
}

void pm__join_matrices(pm__model_def *def, const pm__t *weights, uint32_t n) {
    join(def, weights, n, false);
}

void pm__join_vectors(pm__model_def *def, const pm__t *weights, uint32_t n) {
    join(def, weights, n, true);
}

/* ---- values ---------------------------------------------------------------------------------- */

const float *pm__vector_values(pm__model_def *def, pm__t vector) {
    if (def->status != PM_OK)
        return NULL;
    float *values = pm__arena_array(&def->arena, vector->n_col, sizeof *values);
    if (values == NULL) {
        def->status = PM_OUT_OF_MEMORY;
        return NULL;
    }
    uint64_t row_bytes = 0;
    pm__type_row_bytes(vector->type, vector->n_col, &row_bytes);
    pm__type_decode(vector->type, pm__weight_row(def->weights[vector->index], 0, row_bytes),
                    vector->n_col, values);
    return values;
}

bool pm__tensor_exists(const pm__model_def *def, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    char name[MOST_NAME];
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    return find_tensor(def, name) != NULL;
}

void pm__tensor_ignore(pm__model_def *def, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    char name[MOST_NAME];
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    const pm__gguf_tensor *t = find_tensor(def, name);
    if (t != NULL && def->claims[t - def->gguf->tensors] == PM__CLAIM_NONE)
        def->claims[t - def->gguf->tensors] = PM__CLAIM_IGNORED;
}

uint32_t pm__tensor_rows(pm__model_def *def, const char *fmt, ...) {
    char name[MOST_NAME];
    if (def->status != PM_OK)
        return 1;
    va_list args;
    va_start(args, fmt);
    vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    const pm__gguf_tensor *t = pm__gguf_find_tensor(def->gguf, name);
    if (t == NULL)
        def->status = pm__fail(PM_BAD_FILE, "model: the file has no tensor '%s'", name);
    else if (t->shape[1] == 0 || t->shape[1] > INT32_MAX)
        def->status =
            pm__fail(PM_BAD_FILE, "model: tensor '%s' has %" PRIu64 " rows", name, t->shape[1]);
    return def->status == PM_OK ? (uint32_t)t->shape[1] : 1;
}

/* ---- what is left ---------------------------------------------------------------------------- */

static uint64_t elements_claimed(const pm__model_def *def, uint32_t first) {
    uint64_t n = 0;
    for (const pm__weight *w = def->weights[first]; w != NULL; w = w->next)
        n += (uint64_t)w->tensor.n_row * w->tensor.n_col;
    return n;
}

pm_status pm__model_def_check_claims(const pm__model_def *def) {
    for (uint64_t i = 0; i < def->gguf->n_tensor; i++) {
        const pm__gguf_tensor *t = &def->gguf->tensors[i];
        const uint64_t n = t->shape[0] * t->shape[1] * t->shape[2] * t->shape[3];
        if (def->claims[i] == PM__CLAIM_IGNORED ||
            (def->claims[i] != PM__CLAIM_NONE && elements_claimed(def, def->claims[i]) >= n))
            continue;
        return pm__fail(PM_UNSUPPORTED,
                        "model: tensor '%s' has no place in architecture %s as it is built here; "
                        "without it the model would be wrong",
                        t->name, def->arch->name);
    }
    return PM_OK;
}
