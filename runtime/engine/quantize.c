/* quantize.c: a model's matrices in other types. Rows are read, encoded and written a few megabytes
 * at a time; nothing else is held. */
#include "../format/quantize.h"
#include "../base/checked.h"
#include "../base/threads.h"
#include "../format/gguf_write.h"
#include "../format/imatrix.h"
#include "../source/source.h"
#include "mix.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { SLAB_BYTES = 16 << 20, QUANTIZATION_VERSION = 2, MOST_COL = 1 << 30 };

typedef struct override {
    regex_t pattern;
    bool compiled;
    pm__type type;
} override;

/* What becomes of a tensor. */
typedef struct fate {
    pm__type wanted, to; /* PM__TYPE_COUNT: it is copied */
    const pm__imatrix_entry *importances;
} fate;

typedef struct quantizing {
    const pm_quantize_desc *desc;
    pm__source source;
    pm__imatrix imatrix;
    pm__mix_model model;
    pm__type output, embedding; /* PM__TYPE_COUNT: the mix's */
    override *overrides;        /* [desc->n_tensor_type] */
    fate *fates;                /* [n_tensor] */
    pm__gguf_writer writer;
    float *rows; /* of a slab, decoded */
    uint8_t *encoded;
    bool *bad;            /* rows of a slab that cannot be */
    uint64_t done, total; /* bytes of the input */
} quantizing;

/* ---- what is asked for ----------------------------------------------------------------------- */

static pm_status find_type(const char *name, pm__type *out) {
    *out = PM__TYPE_COUNT;
    if (name == NULL)
        return PM_OK;
    for (pm__type type = 0; type < PM__TYPE_COUNT; type++)
        if (pm__type_can_quantize(type) && strcasecmp(pm__type_get(type)->name, name) == 0)
            *out = type;
    return *out != PM__TYPE_COUNT
               ? PM_OK
               : pm__fail(PM_ARGUMENT, "quantize: '%s' is no tensor type that can be written",
                          name);
}

bool pm_quantize_type(size_t i, const char **name, const char **what) {
    for (size_t k = 0; pm__mix_get(k) != NULL; k++)
        if (pm__type_can_quantize(pm__mix_get(k)->type) && i-- == 0) {
            *name = pm__mix_get(k)->name;
            *what = pm__mix_get(k)->what;
            return true;
        }
    return false;
}

static pm_status find_mix(const char *name, const pm__mix_info **out) {
    *out = pm__mix_find(name);
    if (*out == NULL || !pm__type_can_quantize((*out)->type))
        return pm__fail(PM_ARGUMENT,
                        "quantize: '%s' is no type that can be written; pumice help quantize lists "
                        "them",
                        name);
    return PM_OK;
}

/* "PATTERN=TYPE" */
static pm_status read_override(const char *text, override *out) {
    char message[128] = "no = in it";
    const char *equals = strrchr(text, '=');
    char *pattern = equals != NULL ? strndup(text, (size_t)(equals - text)) : NULL;
    if (equals != NULL && pattern == NULL)
        return pm__fail_memory("quantize: a pattern", strlen(text));
    const int error =
        pattern != NULL ? regcomp(&out->pattern, pattern, REG_EXTENDED | REG_NOSUB) : 1;
    out->compiled = pattern != NULL && error == 0;
    if (pattern != NULL && error != 0)
        regerror(error, &out->pattern, message, sizeof message);
    free(pattern);
    if (!out->compiled)
        return pm__fail(PM_ARGUMENT, "quantize: '%s' is no PATTERN=TYPE: %s", text, message);
    return find_type(equals + 1, &out->type);
}

static pm_status read_options(quantizing *q) {
    const pm_quantize_desc *desc = q->desc;
    PM_TRY(find_type(desc->output_type, &q->output));
    PM_TRY(find_type(desc->embedding_type, &q->embedding));
    q->overrides = calloc(desc->n_tensor_type + 1, sizeof *q->overrides);
    if (q->overrides == NULL)
        return pm__fail_memory("quantize: patterns", desc->n_tensor_type * sizeof *q->overrides);
    for (size_t i = 0; i < desc->n_tensor_type; i++)
        PM_TRY(read_override(desc->tensor_types[i], &q->overrides[i]));
    return PM_OK;
}

static pm_status read_imatrix(quantizing *q) {
    pm__file_map map;
    if (q->desc->imatrix == NULL)
        return PM_OK;
    PM_TRY(pm__file_map_init(&map, q->desc->imatrix));
    const pm_status status = pm__imatrix_init(&q->imatrix, map.data, map.size);
    pm__file_map_finish(&map);
    return status;
}

/* ---- the type of each tensor ----------------------------------------------------------------- */

static pm__type wanted_type(const quantizing *q, const pm__gguf_tensor *tensor, pm__role role) {
    for (size_t i = 0; i < q->desc->n_tensor_type; i++)
        if (regexec(&q->overrides[i].pattern, tensor->name, 0, NULL, 0) == 0)
            return q->overrides[i].type;
    if (q->embedding != PM__TYPE_COUNT && strcmp(tensor->name, "token_embd.weight") == 0)
        return q->embedding;
    if (q->output != PM__TYPE_COUNT && role == PM__ROLE_OUTPUT)
        return q->output;
    return q->desc->pure ? q->model.mix->type : pm__mix_type(&q->model, tensor, role);
}

static bool is_coarse(pm__type type) {
    return pm__type_get(type)->block_n > 1;
}

/* Integers are no matrices of weights. */
static bool is_number(pm__type type) {
    return type != PM__TYPE_I8 && type != PM__TYPE_I16 && type != PM__TYPE_I32 &&
           type != PM__TYPE_I64;
}

static pm_status check_change(const quantizing *q, const pm__gguf_tensor *tensor, pm__type to) {
    if (!pm__type_can_quantize(to))
        return pm__fail(PM_UNSUPPORTED,
                        "quantize: tensor '%s' would become %s, which cannot be "
                        "written yet",
                        tensor->name, pm__type_get(to)->name);
    if (is_coarse(tensor->type) && !q->desc->requantize)
        return pm__fail(PM_UNSUPPORTED,
                        "quantize: tensor '%s' is %s already, and loses more each time; take the "
                        "model in F16, BF16 or F32, or allow it (--allow-requantize)",
                        tensor->name, pm__type_get(tensor->type)->name);
    if (tensor->shape[0] > MOST_COL)
        return pm__fail(PM_UNSUPPORTED, "quantize: tensor '%s' has rows of %" PRIu64 " elements",
                        tensor->name, tensor->shape[0]);
    return PM_OK;
}

/* The importances of a matrix that is encoded, of as many columns and matrices as it has. */
static pm_status find_importances(const quantizing *q, const pm__gguf_tensor *tensor,
                                  const pm__imatrix_entry **out) {
    *out = q->desc->imatrix != NULL ? pm__imatrix_find(&q->imatrix, tensor->name) : NULL;
    const uint64_t n = tensor->shape[0] * tensor->shape[2] * tensor->shape[3];
    if (*out != NULL && (*out)->n_value != n)
        return pm__fail(PM_BAD_FILE,
                        "imatrix: '%s' has %" PRIu64 " values, the tensor has %" PRIu64
                        " columns; it was made for another model",
                        tensor->name, (*out)->n_value, n);
    return PM_OK;
}

static pm_status choose(const quantizing *q, const pm__gguf_tensor *tensor, fate *out) {
    *out = (fate){.wanted = PM__TYPE_COUNT, .to = PM__TYPE_COUNT};
    if (q->model.mix == NULL)
        return PM_OK;
    const pm__role role = pm__mix_role(&q->model, tensor);
    if (role == PM__ROLE_KEPT || !is_number(tensor->type))
        return PM_OK;
    out->wanted = wanted_type(q, tensor, role);
    const pm__type to = pm__mix_fit(out->wanted, tensor->shape[0]);
    if (to == tensor->type)
        return PM_OK;
    out->to = to;
    PM_TRY(check_change(q, tensor, to));
    return find_importances(q, tensor, &out->importances);
}

/* ---- rows ------------------------------------------------------------------------------------ */

/* Some rows of a tensor under way. */
typedef struct slab {
    const quantizing *q;
    const pm__gguf_tensor *tensor;
    const pm__imatrix_entry *importances;
    pm__type to;
    uint64_t first; /* row */
    uint64_t from_bytes, to_bytes;
} slab;

/* F16 has no infinity of its own making: what is larger than it can hold is refused. */
static bool fits(pm__type type, const float *x, uint32_t n) {
    for (uint32_t i = 0; i < n && type == PM__TYPE_F16; i++)
        if (fabsf(x[i]) >= 65520.0f)
            return false;
    return true;
}

static void encode_row(void *user, size_t i) {
    const slab *s = user;
    const uint32_t n_col = (uint32_t)s->tensor->shape[0];
    const uint64_t row = s->first + i;
    const float *importances = NULL;
    float *x = s->q->rows + i * n_col;
    if (s->importances != NULL)
        importances = s->importances->values + row / s->tensor->shape[1] * n_col;
    pm__type_decode(s->tensor->type, pm__gguf_row(s->tensor, row, s->from_bytes), n_col, x);
    s->q->bad[i] = !fits(s->to, x, n_col) || !pm__type_quantize(s->to, x, importances, n_col,
                                                                s->q->encoded + i * s->to_bytes);
}

static pm_status check_rows(const slab *s, uint64_t n) {
    for (uint64_t i = 0; i < n; i++)
        if (s->q->bad[i])
            return pm__fail(PM_BAD_FILE,
                            "quantize: tensor '%s', row %" PRIu64
                            " holds what is no number, or more "
                            "than %s can hold",
                            s->tensor->name, s->first + i, pm__type_get(s->to)->name);
    return PM_OK;
}

static pm_status tell(quantizing *q, uint64_t bytes) {
    q->done += bytes;
    if (q->desc->progress != NULL &&
        !q->desc->progress(q->desc->user, "quantize", q->done, q->total))
        return pm__fail(PM_CANCELLED, "quantize: interrupted");
    return PM_OK;
}

static uint64_t count_rows(const pm__gguf_tensor *tensor) {
    return tensor->shape[1] * tensor->shape[2] * tensor->shape[3];
}

static uint64_t rows_of_slab(const pm__gguf_tensor *tensor) {
    const uint64_t most = SLAB_BYTES / (tensor->shape[0] * sizeof(float));
    return pm__least_u64(most > 0 ? most : 1, count_rows(tensor));
}

static pm_status encode_tensor(quantizing *q, const pm__gguf_tensor *tensor, const fate *f) {
    const uint64_t n_row = count_rows(tensor), step = rows_of_slab(tensor);
    slab s = {.q = q, .tensor = tensor, .importances = f->importances, .to = f->to};
    pm__type_row_bytes(tensor->type, tensor->shape[0], &s.from_bytes);
    pm__type_row_bytes(f->to, tensor->shape[0], &s.to_bytes);
    for (s.first = 0; s.first < n_row; s.first += step) {
        const uint64_t n = pm__least_u64(step, n_row - s.first);
        pm__parallel((size_t)n, (int)q->desc->n_thread, encode_row, &s);
        PM_TRY(check_rows(&s, n));
        PM_TRY(pm__gguf_write_data(&q->writer, q->encoded, (size_t)(n * s.to_bytes)));
        PM_TRY(tell(q, n * s.from_bytes));
    }
    return PM_OK;
}

static pm_status copy_tensor(quantizing *q, const pm__gguf_tensor *tensor) {
    uint64_t row_bytes = 0;
    pm__type_row_bytes(tensor->type, tensor->shape[0], &row_bytes);
    for (uint64_t r = 0; r < count_rows(tensor); r++)
        PM_TRY(
            pm__gguf_write_data(&q->writer, pm__gguf_row(tensor, r, row_bytes), (size_t)row_bytes));
    return tell(q, tensor->bytes);
}

/* ---- the file -------------------------------------------------------------------------------- */

/* Keys that this file has of its own. */
static bool is_replaced(const pm__gguf_key *key) {
    static const char *const names[] = {"general.file_type", "general.quantization_version",
                                        "split.", "quantize.imatrix."};
    for (size_t i = 0; i < PM__COUNT(names); i++)
        if (key->name.size >= strlen(names[i]) &&
            memcmp(key->name.data, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

/* general.file_type of a model whose types stay: what it says, or that of its widest matrix. */
static uint32_t kept_file_type(const pm__gguf *gguf) {
    const pm__gguf_key *key = pm__gguf_find_key(gguf, "general.file_type");
    uint64_t id = 0, most = 0;
    if (key != NULL && pm__gguf_u64(key, &id))
        return (uint32_t)id;
    for (uint64_t i = 0; i < gguf->n_tensor; i++) {
        const pm__gguf_tensor *tensor = &gguf->tensors[i];
        const pm__mix_info *mix = pm__mix_find(pm__type_get(tensor->type)->name);
        if (tensor->n_dim < 2 || mix == NULL || tensor->bytes <= most)
            continue;
        most = tensor->bytes;
        id = mix->file_type;
    }
    return (uint32_t)id;
}

static void put_keys(quantizing *q) {
    const pm__gguf *gguf = &q->source.gguf;
    pm__gguf_writer *w = &q->writer;
    for (uint64_t i = 0; i < gguf->n_key; i++)
        if (!is_replaced(&gguf->keys[i]))
            pm__gguf_put_key(w, &gguf->keys[i]);
    pm__gguf_put_u32(w, "general.file_type",
                     q->model.mix != NULL ? q->model.mix->file_type : kept_file_type(gguf));
    pm__gguf_put_u32(w, "general.quantization_version", QUANTIZATION_VERSION);
    if (q->desc->imatrix == NULL)
        return;
    pm__gguf_put_string(w, "quantize.imatrix.file", q->desc->imatrix, strlen(q->desc->imatrix));
    pm__gguf_put_string(w, "quantize.imatrix.dataset", q->imatrix.dataset,
                        strlen(q->imatrix.dataset));
    pm__gguf_put_u32(w, "quantize.imatrix.entries_count", (uint32_t)q->imatrix.n_entry);
    pm__gguf_put_u32(w, "quantize.imatrix.chunks_count", q->imatrix.n_chunk);
}

/* Type in the output. */
static pm__type final_type(const quantizing *q, uint64_t i) {
    return q->fates[i].to != PM__TYPE_COUNT ? q->fates[i].to : q->source.gguf.tensors[i].type;
}

/* Chooses all types and names all tensors, so that nothing is written of what cannot be. */
static pm_status lay_out(quantizing *q) {
    const pm__gguf *gguf = &q->source.gguf;
    put_keys(q);
    q->fates = calloc((size_t)gguf->n_tensor + 1, sizeof *q->fates);
    if (q->fates == NULL)
        return pm__fail_memory("quantize: types", (size_t)gguf->n_tensor * sizeof *q->fates);
    for (uint64_t i = 0; i < gguf->n_tensor; i++) {
        const pm__gguf_tensor *tensor = &gguf->tensors[i];
        PM_TRY(choose(q, tensor, &q->fates[i]));
        pm__gguf_put_tensor(&q->writer, tensor->name, pm__type_get(final_type(q, i))->id,
                            tensor->n_dim, tensor->shape);
        PM_TRY(q->writer.status);
        q->total += tensor->bytes;
    }
    return PM_OK;
}

static void tell_tensor(const quantizing *q, uint64_t i) {
    const pm__gguf_tensor *tensor = &q->source.gguf.tensors[i];
    const fate *f = &q->fates[i];
    const pm__type to = final_type(q, i);
    const pm_quantized told = {
        .name = tensor->name,
        .index = i,
        .n = q->source.gguf.n_tensor,
        .shape = tensor->shape,
        .from = pm__type_get(tensor->type)->name,
        .to = pm__type_get(to)->name,
        .instead_of =
            f->wanted != PM__TYPE_COUNT && f->wanted != to ? pm__type_get(f->wanted)->name : "",
        .from_bytes = tensor->bytes,
        .to_bytes = q->writer.sizes[i],
        .weighted = f->importances != NULL && is_coarse(to),
    };
    if (q->desc->on_tensor != NULL)
        q->desc->on_tensor(q->desc->user, &told);
}

static pm_status reserve_slabs(quantizing *q) {
    uint64_t most_x = 0, most_out = 0, most_row = 0;
    for (uint64_t i = 0; i < q->source.gguf.n_tensor; i++) {
        const pm__gguf_tensor *tensor = &q->source.gguf.tensors[i];
        if (q->fates[i].to == PM__TYPE_COUNT)
            continue;
        uint64_t row = 0;
        const uint64_t n = rows_of_slab(tensor);
        pm__type_row_bytes(q->fates[i].to, tensor->shape[0], &row);
        most_row = pm__most_u64(most_row, n);
        most_x = pm__most_u64(most_x, n * tensor->shape[0]);
        most_out = pm__most_u64(most_out, n * row);
    }
    q->rows = malloc((size_t)most_x * sizeof *q->rows + 1);
    q->encoded = malloc((size_t)most_out + 1);
    q->bad = malloc((size_t)most_row * sizeof *q->bad + 1);
    return q->rows != NULL && q->encoded != NULL && q->bad != NULL
               ? PM_OK
               : pm__fail_memory("quantize: rows", (size_t)(most_x * sizeof *q->rows + most_out));
}

static pm_status write_all(quantizing *q) {
    PM_TRY(reserve_slabs(q));
    PM_TRY(pm__gguf_write_index(&q->writer, q->desc->write, q->desc->user));
    for (uint64_t i = 0; i < q->source.gguf.n_tensor; i++) {
        const pm__gguf_tensor *tensor = &q->source.gguf.tensors[i];
        tell_tensor(q, i);
        PM_TRY(q->fates[i].to != PM__TYPE_COUNT ? encode_tensor(q, tensor, &q->fates[i])
                                                : copy_tensor(q, tensor));
    }
    assert(pm__gguf_write_is_done(&q->writer));
    return PM_OK;
}

static pm_status run(quantizing *q) {
    const pm__mix_info *mix = NULL;
    if (q->desc->type != NULL)
        PM_TRY(find_mix(q->desc->type, &mix));
    PM_TRY(read_options(q));
    PM_TRY(pm__source_init(&q->source, q->desc->path));
    PM_TRY(read_imatrix(q));
    if (mix != NULL)
        PM_TRY(pm__mix_model_init(&q->model, mix, &q->source.gguf, q->desc->imatrix != NULL));
    PM_TRY(lay_out(q));
    for (uint64_t i = 0; q->desc->write == NULL && i < q->source.gguf.n_tensor; i++)
        tell_tensor(q, i);
    return q->desc->write != NULL ? write_all(q) : PM_OK;
}

static void finish(quantizing *q) {
    for (size_t i = 0; q->overrides != NULL && i < q->desc->n_tensor_type; i++)
        if (q->overrides[i].compiled)
            regfree(&q->overrides[i].pattern);
    free(q->overrides);
    free(q->fates);
    free(q->rows);
    free(q->encoded);
    free(q->bad);
    pm__gguf_writer_finish(&q->writer);
    pm__mix_model_finish(&q->model);
    pm__imatrix_finish(&q->imatrix);
    pm__source_finish(&q->source);
}

pm_status pm_quantize(const pm_quantize_desc *desc) {
    quantizing q = {.desc = desc};
    if (desc->path == NULL)
        return pm__fail(PM_ARGUMENT, "quantize: no file");
    pm__gguf_writer_init(&q.writer);
    const pm_status status = run(&q);
    finish(&q);
    return status;
}
