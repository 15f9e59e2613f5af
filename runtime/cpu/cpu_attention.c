/* cpu_attention.c: the caches: storing a row, and attention over the positions up to it. */
#include "cpu_ops.h"

#include <math.h>
#include <string.h>

void pm__cpu_kv_store(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    (void)n_thread;
    const size_t n = node->out->n_col;
    const struct pm_step_row *rows = pm__cpu_step_rows(args->in[1]);
    for (uint32_t r = 0; r < args->n_row; r++) {
        const size_t at = pm__cpu_cache_row(args->limits, args->in[2], rows[r].seq, rows[r].pos);
        memcpy((float *)args->out + at * n, (const float *)args->in[0] + r * n, n * sizeof(float));
    }
}

/* What one head of one row looks at. */
typedef struct view {
    const pm__limits *limits;
    const uint32_t *pages;
    const float *q, *k, *v; /* [head_dim]; caches from the head's first column on */
    size_t stride;          /* floats from one position of a cache to the next */
    uint32_t head_dim, seq, pos;
    double scale;
} view;

static double score(const view *head, uint32_t pos) {
    const size_t at = pm__cpu_cache_row(head->limits, head->pages, head->seq, pos);
    return pm__cpu_dot(head->q, head->k + at * head->stride, head->head_dim) * head->scale;
}

/* Scores are computed twice, so that no context is too long for the memory at hand. */
static void attend(const view *head, float *y) {
    double max = -INFINITY, sum = 0, out[PM__MOST_HEAD_DIM] = {0};
    for (uint32_t pos = 0; pos <= head->pos; pos++)
        max = fmax(max, score(head, pos));
    for (uint32_t pos = 0; pos <= head->pos; pos++) {
        const double p = exp(score(head, pos) - max);
        const size_t at = pm__cpu_cache_row(head->limits, head->pages, head->seq, pos);
        const float *v = head->v + at * head->stride;
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
    uint64_t work = 0;
    for (uint32_t r = 0; r < args->n_row; r++)
        work += ((uint64_t)rows[r].pos + 1) * n;
    const uint64_t n_item = (uint64_t)args->n_row * n_head;
#pragma omp parallel for num_threads(n_thread) schedule(dynamic) if (work > PM__CPU_WORTH)
    for (uint64_t item = 0; item < n_item; item++) {
        const uint32_t r = (uint32_t)(item / n_head), h = (uint32_t)(item % n_head);
        const size_t column = (size_t)(h / group) * head_dim;
        const view head = {.limits = args->limits,
                           .pages = args->in[4],
                           .q = (const float *)args->in[0] + r * n + (size_t)h * head_dim,
                           .k = (const float *)args->in[1] + column,
                           .v = (const float *)args->in[2] + column,
                           .stride = node->in[1]->n_col,
                           .head_dim = head_dim,
                           .seq = rows[r].seq,
                           .pos = rows[r].pos,
                           .scale = (double)node->params.attention.scale};
        attend(&head, (float *)args->out + r * n + (size_t)h * head_dim);
    }
}
