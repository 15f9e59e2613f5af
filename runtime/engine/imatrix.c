/* imatrix.c: importances: what the columns of each weight matrix are multiplied by, squared and
 * summed over a text, while the CPU path evaluates it. */
#include "../cpu/cpu.h"
#include "../format/gguf_write.h"
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 512 };

/* Sums for one tensor of the file. */
typedef struct importance {
    const pm__gguf_tensor *tensor; /* NULL: no token came by */
    double *sums;                  /* [n_matrix, n_col] */
    uint64_t *counts;              /* [n_matrix] rows that were summed */
    uint32_t n_col, n_matrix;
} importance;

typedef struct collecting {
    const pm_imatrix_desc *desc;
    pm_model *model;
    pm_session *session;
    const pm__gguf *gguf;
    importance *of; /* [gguf->n_tensor] */
    pm_status status;
    int32_t *ids;
    size_t n_id;
    uint32_t n_ctx, n_chunk;
} collecting;

/* ---- while nodes run ------------------------------------------------------------------------- */

static pm_status begin_tensor(importance *of, const pm__gguf_tensor *tensor, uint32_t n_col,
                              uint32_t n_matrix) {
    of->sums = calloc((size_t)n_col * n_matrix, sizeof *of->sums);
    of->counts = calloc(n_matrix, sizeof *of->counts);
    if (of->sums == NULL || of->counts == NULL)
        return pm__fail_memory("imatrix: sums", (size_t)n_col * n_matrix * sizeof *of->sums);
    of->tensor = tensor;
    of->n_col = n_col;
    of->n_matrix = n_matrix;
    return PM_OK;
}

/* The tensor of the file that a node multiplies with; NULL for one that is not to be summed: what
 * gives the logits is kept in a type of many bits anyway. */
static importance *find(collecting *c, const pm__tensor *w, uint32_t n_matrix) {
    const pm__gguf_tensor *tensor = pm__gguf_find_tensor(c->gguf, w->name);
    if (c->status != PM_OK || tensor == NULL || strcmp(w->name, "output.weight") == 0 ||
        strcmp(w->name, "token_embd.weight") == 0)
        return NULL;
    importance *of = &c->of[tensor - c->gguf->tensors];
    if (of->tensor == NULL)
        c->status = begin_tensor(of, tensor, w->n_col, n_matrix);
    const bool same = of->n_col == w->n_col && of->n_matrix == n_matrix;
    return c->status == PM_OK && same ? of : NULL;
}

static void add_row(importance *of, uint32_t matrix, const float *x) {
    double *sums = of->sums + (size_t)matrix * of->n_col;
    for (uint32_t i = 0; i < of->n_col; i++)
        sums[i] += (double)x[i] * (double)x[i];
    of->counts[matrix]++;
}

static void add_matmul(collecting *c, const pm__node *node, const pm__cpu_args *args) {
    importance *of = find(c, node->in[1], 1);
    const uint32_t n_row = node->out->rows == PM__ROWS_OUT ? args->n_out : args->n_row;
    const float *x = args->in[0];
    for (uint32_t r = 0; of != NULL && r < n_row; r++)
        add_row(of, 0, x + (size_t)r * of->n_col);
}

/* Each row goes to the experts it chose, perhaps with columns of its own for each; without a route
 * slot u is expert u. */
static void add_experts(collecting *c, const pm__node *node, const pm__cpu_args *args) {
    const uint32_t n_slot = node->params.experts.n_slot, n_in = node->in[1]->n_col;
    const bool spread = node->in[0]->n_col != n_in;
    importance *of = find(c, node->in[1], node->params.experts.n_expert);
    const float *x = args->in[0], *route = args->in[3];
    for (uint32_t i = 0; of != NULL && i < args->n_row * n_slot; i++) {
        const uint32_t r = i / n_slot, u = i % n_slot;
        const uint32_t e = route != NULL ? (uint32_t)route[(size_t)r * 2 * n_slot + u] : u;
        add_row(of, e, x + (size_t)(spread ? i : r) * n_in);
    }
}

static void on_node(void *user, const pm__node *node, const pm__cpu_args *args) {
    if (node->op == PM__OP_MATMUL)
        add_matmul(user, node, args);
    else if (node->op == PM__OP_EXPERTS_MATMUL)
        add_experts(user, node, args);
}

/* ---- the text -------------------------------------------------------------------------------- */

static pm_status read_text(collecting *c) {
    const pm_tokenize_desc desc = {
        .text = c->desc->text, .n_byte = c->desc->n_byte, .add_special = true};
    PM_TRY(pm_tokenize(c->model, &desc, NULL, 0, &c->n_id));
    c->ids = malloc((c->n_id + 1) * sizeof *c->ids);
    if (c->ids == NULL)
        return pm__fail_memory("imatrix: tokens", c->n_id * sizeof *c->ids);
    PM_TRY(pm_tokenize(c->model, &desc, c->ids, c->n_id, &c->n_id));
    if (c->n_id == 0)
        return pm__fail(PM_ARGUMENT, "imatrix: the text is empty");
    const uint32_t wanted = c->desc->n_ctx > 0 ? c->desc->n_ctx : CHUNK;
    const uint32_t trained = c->model->info.n_ctx_train;
    c->n_ctx = trained > 0 && trained < wanted && c->desc->n_ctx == 0 ? trained : wanted;
    if (c->n_id < c->n_ctx)
        c->n_ctx = (uint32_t)c->n_id;
    return PM_OK;
}

/* A chunk begins with BOS in place of its first token, where the model wants one. */
static pm_status run_chunk(collecting *c, uint32_t i) {
    const int32_t bos = c->model->info.bos;
    int32_t *ids = c->ids + (size_t)i * c->n_ctx;
    if (bos >= 0 && c->ids[0] == bos)
        ids[0] = bos;
    PM_TRY(pm_session_rewind(c->session, 0, 0));
    PM_TRY(pm_session_eval(c->session, 0, ids, c->n_ctx, NULL));
    return c->status;
}

static pm_status run_text(collecting *c) {
    const pm_session_desc desc = {.n_ctx = c->n_ctx};
    const size_t all = c->n_id / c->n_ctx, most = c->desc->n_chunk;
    const uint32_t n = (uint32_t)(most > 0 && most < all ? most : all);
    PM_TRY(pm_session_open(c->model, &desc, &c->session));
    pm__cpu_watch(c->model->device->handle.device, on_node, c);
    for (; c->n_chunk < n; c->n_chunk++) {
        PM_TRY(run_chunk(c, c->n_chunk));
        if (c->desc->progress != NULL &&
            !c->desc->progress(c->desc->user, "chunks", c->n_chunk + 1, n))
            return pm__fail(PM_CANCELLED, "imatrix: interrupted");
    }
    return PM_OK;
}

/* ---- the file -------------------------------------------------------------------------------- */

static void put_index(const collecting *c, pm__gguf_writer *w) {
    const uint32_t f32 = pm__type_get(PM__TYPE_F32)->id;
    const char *dataset = c->desc->dataset != NULL ? c->desc->dataset : "";
    pm__gguf_put_string(w, "general.type", "imatrix", 7);
    pm__gguf_put_strings(w, "imatrix.datasets", &(pm__span){dataset, strlen(dataset)}, 1);
    pm__gguf_put_u32(w, "imatrix.chunk_count", c->n_chunk);
    pm__gguf_put_u32(w, "imatrix.chunk_size", c->n_ctx);
    for (uint64_t i = 0; i < c->gguf->n_tensor; i++) {
        const importance *of = &c->of[i];
        char name[PM__GGUF_MOST_NAME + 16];
        if (of->tensor == NULL)
            continue;
        snprintf(name, sizeof name, "%s.in_sum2", of->tensor->name);
        pm__gguf_put_tensor(w, name, f32, 2, (const uint64_t[]){of->n_col, of->n_matrix});
        snprintf(name, sizeof name, "%s.counts", of->tensor->name);
        pm__gguf_put_tensor(w, name, f32, 2, (const uint64_t[]){1, of->n_matrix});
    }
}

static pm_status write_values(pm__gguf_writer *w, const importance *of) {
    const size_t n = (size_t)of->n_col * of->n_matrix;
    float *values = malloc((n + of->n_matrix) * sizeof *values);
    if (values == NULL)
        return pm__fail_memory("imatrix: values", n * sizeof *values);
    for (size_t i = 0; i < n; i++)
        values[i] = (float)of->sums[i];
    for (uint32_t i = 0; i < of->n_matrix; i++)
        values[n + i] = (float)of->counts[i];
    pm_status status = pm__gguf_write_data(w, values, n * sizeof *values);
    if (status == PM_OK)
        status = pm__gguf_write_data(w, values + n, of->n_matrix * sizeof *values);
    free(values);
    return status;
}

static pm_status write_file(const collecting *c, pm__gguf_writer *w) {
    put_index(c, w);
    PM_TRY(pm__gguf_write_index(w, c->desc->write, c->desc->user));
    for (uint64_t i = 0; i < c->gguf->n_tensor; i++)
        if (c->of[i].tensor != NULL)
            PM_TRY(write_values(w, &c->of[i]));
    return PM_OK;
}

static pm_status run(collecting *c) {
    pm__gguf_writer w;
    PM_TRY(read_text(c));
    c->of = calloc((size_t)c->gguf->n_tensor + 1, sizeof *c->of);
    if (c->of == NULL)
        return pm__fail_memory("imatrix: tensors", (size_t)c->gguf->n_tensor * sizeof *c->of);
    PM_TRY(run_text(c));
    pm__gguf_writer_init(&w);
    const pm_status status = write_file(c, &w);
    pm__gguf_writer_finish(&w);
    return status;
}

static void finish(collecting *c) {
    pm__cpu_watch(c->model->device->handle.device, NULL, NULL);
    pm_session_close(c->session);
    for (uint64_t i = 0; c->of != NULL && i < c->gguf->n_tensor; i++) {
        free(c->of[i].sums);
        free(c->of[i].counts);
    }
    free(c->of);
    free(c->ids);
}

pm_status pm_imatrix(pm_model *model, const pm_imatrix_desc *desc) {
    collecting c = {.desc = desc, .model = model, .gguf = &model->source.gguf};
    if (model->device == NULL || !model->placed || strcmp(model->device->info.kind, "cpu") != 0)
        return pm__fail(PM_ARGUMENT,
                        "imatrix: importances are collected on the CPU path; use --device cpu");
    const pm_status status = run(&c);
    finish(&c);
    return status;
}
