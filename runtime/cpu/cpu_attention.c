/* cpu_attention.c: the caches: storing a row, and attention over the positions up to it. */
#include "cpu_ops.h"

#include <math.h>

/* A cache, as plan.h lays it out. */
typedef struct planes {
    pm__type type;
    uint32_t *quants, *scales;
    size_t n_quant, n_scale; /* words of a position */
} planes;

static planes planes_of(const pm__tensor *cache, const void *base, const pm__limits *limits) {
    const pm__cache_layout at = pm__limits_cache_layout(limits, cache);
    uint32_t *words = (uint32_t *)(uintptr_t)base;
    return (planes){.type = cache->type,
                    .quants = words,
                    .scales = words + at.scales / sizeof *words,
                    .n_quant = (size_t)at.quants_row / sizeof *words,
                    .n_scale = (size_t)at.scales_row / sizeof *words};
}

void pm__cpu_kv_store(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    (void)n_thread;
    const uint32_t n = node->out->n_col;
    const planes cache = planes_of(node->out, args->out, args->limits);
    const struct pm_step_row *rows = pm__cpu_step_rows(args->in[1]);
    for (uint32_t r = 0; r < args->n_row; r++) {
        const size_t at = pm__cpu_cache_row(args->limits, args->in[2], rows[r].seq, rows[r].pos);
        pm__type_encode_packed(cache.type, (const float *)args->in[0] + (size_t)r * n, n,
                               cache.quants + at * cache.n_quant,
                               cache.scales + at * cache.n_scale);
    }
}

/* What one head of one row looks at. */
typedef struct view {
    const pm__limits *limits;
    const uint32_t *pages;
    const float *q; /* [head_dim] */
    planes k, v;
    uint32_t column; /* of the caches, where the head begins */
    uint32_t head_dim, seq, pos;
    double scale;
} view;

/* The head's part of a cache at a position. */
static void read_head(const view *head, const planes *cache, uint32_t pos, float *out) {
    const size_t at = pm__cpu_cache_row(head->limits, head->pages, head->seq, pos);
    pm__type_read(cache->type, cache->quants + at * cache->n_quant,
                  cache->scales + at * cache->n_scale, head->column, head->head_dim, out);
}

static double score(const view *head, uint32_t pos) {
    float k[PM__MOST_HEAD_DIM];
    read_head(head, &head->k, pos, k);
    return pm__cpu_dot(head->q, k, head->head_dim) * head->scale;
}

/* Scores are computed twice, so that no context is too long for the memory at hand. */
static void attend(const view *head, float *y) {
    double max = -INFINITY, sum = 0, out[PM__MOST_HEAD_DIM] = {0};
    for (uint32_t pos = 0; pos <= head->pos; pos++)
        max = fmax(max, score(head, pos));
    for (uint32_t pos = 0; pos <= head->pos; pos++) {
        const double p = exp(score(head, pos) - max);
        float v[PM__MOST_HEAD_DIM];
        read_head(head, &head->v, pos, v);
        sum += p;
        for (uint32_t d = 0; d < head->head_dim; d++)
            out[d] += p * (double)v[d];
    }
    for (uint32_t d = 0; d < head->head_dim; d++)
        y[d] = (float)(out[d] / sum);
}

void pm__cpu_attention(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    const uint32_t n_head = node->params.attention.n_head;
    const uint32_t group = n_head / node->params.attention.n_head_kv;
    const uint32_t head_dim = node->params.attention.head_dim;
    const size_t n = node->out->n_col;
    const struct pm_step_row *rows = pm__cpu_step_rows(args->in[3]);
    const planes k = planes_of(node->in[1], args->in[1], args->limits);
    const planes v = planes_of(node->in[2], args->in[2], args->limits);
    uint64_t work = 0;
    for (uint32_t r = 0; r < args->n_row; r++)
        work += ((uint64_t)rows[r].pos + 1) * n;
    const uint64_t n_item = (uint64_t)args->n_row * n_head;
#pragma omp parallel for num_threads(n_thread) schedule(dynamic) if (work > PM__CPU_WORTH)
    for (uint64_t item = 0; item < n_item; item++) {
        const uint32_t r = (uint32_t)(item / n_head), h = (uint32_t)(item % n_head);
        const view head = {.limits = args->limits,
                           .pages = args->in[4],
                           .q = (const float *)args->in[0] + r * n + (size_t)h * head_dim,
                           .k = k,
                           .v = v,
                           .column = h / group * head_dim,
                           .head_dim = head_dim,
                           .seq = rows[r].seq,
                           .pos = rows[r].pos,
                           .scale = (double)node->params.attention.scale};
        attend(&head, (float *)args->out + r * n + (size_t)h * head_dim);
    }
}
