/* cpu_attention.c: the caches: storing a row, and attention over the positions up to it. */
#include "cpu_ops.h"

#include <math.h>
#include <string.h>

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

/* ---- prepare --------------------------------------------------------------------------------- */

static void norm_head(float *head, uint32_t n, const pm__tensor *w, const void *data, double eps) {
    const double scale = 1 / sqrt(pm__cpu_dot(head, head, n) / n + eps);
    for (uint32_t c = 0; c < n; c++)
        head[c] = (float)((double)head[c] * scale *
                          (w != NULL ? (double)pm__cpu_element(w, data, c) : 1));
}

/* Columns of a head into a row of a cache of floats or halves; zeros behind the last. */
static void store_head(const planes *cache, size_t row, const float *head, uint32_t first,
                       uint32_t n) {
    uint32_t words[PM__MOST_HEAD_DIM + 4];
    const size_t each = pm__type_get(cache->type)->block_bytes;
    uint32_t *to = cache->quants + row * cache->n_quant;
    const size_t at = first * each / sizeof *to, n_word = n * each / sizeof *to;
    pm__type_encode_packed(cache->type, head, n, words, NULL);
    memcpy(to + at, words, n_word * sizeof *to);
    for (size_t i = at + n_word; i < cache->n_quant; i++) /* what is no padding is written yet */
        to[i] = 0;
}

static void prepare_row(const pm__node *node, const pm__cpu_args *args, uint32_t r) {
    const uint32_t n = node->params.prepare.rope.head_dim, n_q = node->params.prepare.n_head;
    const uint32_t n_kv = node->params.prepare.n_head_kv;
    const struct pm_step_row *row = &pm__cpu_step_rows(args->in[1])[r];
    const float *x = (const float *)args->in[0] + (size_t)r * node->in[0]->n_col;
    const size_t at = pm__cpu_cache_row(args->limits, args->in[2], row->seq, row->pos);
    for (uint32_t h = 0; h < n_q + 2 * n_kv; h++) {
        const int side = h < n_q ? 0 : h < n_q + n_kv ? 1 : 2; /* queries, keys, values */
        float head[PM__MOST_HEAD_DIM];
        memcpy(head, x + (size_t)h * n, n * sizeof *head);
        if (side < 2 && node->params.prepare.normed)
            norm_head(head, n, node->in[3 + side], args->in[3 + side],
                      (double)node->params.prepare.eps);
        if (side < 2)
            pm__cpu_rotate(&node->params.prepare.rope, row->pos, node->in[5], args->in[5], head);
        if (side == 0) {
            memcpy((float *)args->out + ((size_t)r * n_q + h) * n, head, n * sizeof *head);
            continue;
        }
        const planes cache = planes_of(node->in[5 + side], args->in[5 + side], args->limits);
        store_head(&cache, at, head, (h - n_q) % n_kv * n, n);
    }
}

void pm__cpu_prepare(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    (void)n_thread;
    for (uint32_t r = 0; r < args->n_row; r++)
        prepare_row(node, args, r);
}

/* ---- attention ------------------------------------------------------------------------------- */

/* What one head of one row looks at. */
typedef struct view {
    const pm__node *node;
    const pm__cpu_args *args;
    const float *q; /* [head_dim] */
    planes k, v;
    uint32_t h, seq, pos;
    uint32_t first, end; /* positions that it sees: [first, end) */
    double slope;        /* of ALiBi */
} view;

/* n values of a cache at a position, from a column on. */
static void read_head(const view *head, const planes *cache, uint32_t pos, uint32_t column,
                      uint32_t n, float *out) {
    const size_t at = pm__cpu_cache_row(head->args->limits, head->args->in[4], head->seq, pos);
    pm__type_read(cache->type, cache->quants + at * cache->n_quant,
                  cache->scales + at * cache->n_scale, column, n, out);
}

/* Place of a distance in the table of biases. arXiv:1910.10683 section 2.1 */
static uint32_t bucket_of(const view *head, uint32_t pos) {
    const bool both = head->node->params.attention.bidirectional;
    const uint32_t n_all = head->node->in[6]->n_col / head->node->params.attention.n_head;
    const uint32_t n = both ? n_all / 2 : n_all;
    const bool after = pos > head->pos;
    const uint32_t skip = both && after ? n : 0, exact = n / 2;
    const uint32_t distance = after ? (both ? pos - head->pos : 0) : head->pos - pos;
    if (distance < exact)
        return skip + distance;
    const double octaves = log((double)distance / exact) / log(128.0 / exact);
    return skip + pm__least_u32(n - 1, exact + (uint32_t)(octaves * (n - exact) + 1e-4));
}

static double score(const view *head, uint32_t pos) {
    const pm__node *node = head->node;
    const uint32_t n_head = node->params.attention.n_head, n = node->params.attention.head_dim;
    const uint32_t kv = head->h / (n_head / node->params.attention.n_head_kv);
    const double cap = (double)node->params.attention.softcap;
    float k[PM__MOST_HEAD_DIM];
    read_head(head, &head->k, pos, kv * n, n, k);
    double s = pm__cpu_dot(head->q, k, n) * (double)node->params.attention.scale;
    if (cap > 0)
        s = cap * tanh(s / cap);
    s -= head->slope * fabs((double)pos - (double)head->pos);
    if (node->in[6] != NULL)
        s += (double)pm__cpu_element(node->in[6], head->args->in[6],
                                     bucket_of(head, pos) * n_head + head->h);
    return s;
}

typedef struct sums {
    double values[PM__MOST_HEAD_DIM];
    double most, weights; /* largest score; without positions, 0 and 0 */
} sums;

/* A sink is a score more, without a value; or -INFINITY. Scores are computed twice, so that no
 * context is too long for the memory at hand. */
static void add_up(const view *head, double sink, sums *out) {
    const pm__node *node = head->node;
    const uint32_t n = node->params.attention.head_dim_v;
    const uint32_t kv =
        head->h / (node->params.attention.n_head / node->params.attention.n_head_kv);
    *out = (sums){.most = sink};
    for (uint32_t pos = head->first; pos < head->end; pos++)
        out->most = fmax(out->most, score(head, pos));
    for (uint32_t pos = head->first; pos < head->end; pos++) {
        const double p = exp(score(head, pos) - out->most);
        float v[PM__MOST_HEAD_DIM];
        read_head(head, &head->v, pos, kv * n, n, v);
        out->weights += p;
        for (uint32_t d = 0; d < n; d++)
            out->values[d] += p * (double)v[d];
    }
    if (out->most == -(double)INFINITY)
        out->most = 0;
    out->weights += exp(sink - out->most);
}

static void attend(const view *head, float *y) {
    const pm__node *node = head->node;
    double sink = -(double)INFINITY;
    sums all;
    if (node->in[5] != NULL)
        sink = (double)pm__cpu_element(node->in[5], head->args->in[5], head->h);
    add_up(head, sink, &all);
    for (uint32_t d = 0; d < node->params.attention.head_dim_v; d++)
        y[d] = (float)(all.values[d] / all.weights);
}

/* Whole pages but for the ends, as many in each slice. */
static view slice_of(const view *whole, uint32_t slice) {
    const uint32_t n_slice = whole->node->params.attention.n_slice;
    const uint32_t first = whole->first - whole->first % PM_PAGE;
    const uint64_t n_page = pm__ceil_div(whole->end - first, PM_PAGE);
    const uint64_t n = (n_page + n_slice - 1) / n_slice * PM_PAGE;
    const uint64_t begin = first + slice * n;
    view head = *whole;
    if (begin > head.first)
        head.first = begin < head.end ? (uint32_t)begin : head.end;
    if (begin + n < head.end)
        head.end = (uint32_t)(begin + n);
    return head;
}

static void attend_slices(const view *whole, float *y) {
    const uint32_t n_v = whole->node->params.attention.head_dim_v;
    for (uint32_t s = 0; s < whole->node->params.attention.n_slice; s++) {
        const view head = slice_of(whole, s);
        sums all;
        add_up(&head, -(double)INFINITY, &all);
        for (uint32_t d = 0; d < n_v; d++)
            *y++ = (float)all.values[d];
        *y++ = (float)all.most;
        *y++ = (float)all.weights;
        *y++ = 0;
        *y++ = 0;
    }
}

/* source  arXiv:2108.12409, its appendix where heads are no power of two */
static double slope_of(const pm__node *node, uint32_t h) {
    const double bias = (double)node->params.attention.max_alibi_bias;
    uint32_t p = 1;
    while (p <= node->params.attention.n_head / 2)
        p *= 2;
    if (bias == 0)
        return 0;
    return h < p ? exp2(-bias * (h + 1) / p) : exp2(-bias / 2 * (2 * (h - p) + 1) / p);
}

static void find_range(view *head, const struct pm_step_row *row) {
    const uint32_t window = head->node->params.attention.window;
    const bool both = head->node->params.attention.bidirectional;
    const uint32_t before = window == 0 ? UINT32_MAX : both ? window / 2 : window - 1;
    head->first = row->pos > before ? row->pos - before : 0;
    if (head->node->params.attention.chunked)
        head->first = row->pos - row->pos % window;
    head->end = row->pos + 1;
    if (both)
        head->end = row->n_pos > row->pos && row->n_pos - 1 - row->pos > before
                        ? row->pos + before + 1
                        : row->n_pos;
}

/* each() gets the heads of all rows and where `n_out` results of each are. */
static void attend_all(const pm__node *node, const pm__cpu_args *args, int n_thread,
                       void (*each)(const view *head, float *y)) {
    const uint32_t n_head = node->params.attention.n_head;
    const uint32_t n_out = node->out->n_col / n_head;
    const struct pm_step_row *rows = pm__cpu_step_rows(args->in[3]);
    const planes k = planes_of(node->in[1], args->in[1], args->limits);
    const planes v = planes_of(node->in[2], args->in[2], args->limits);
    uint64_t work = 0;
    for (uint32_t r = 0; r < args->n_row; r++)
        work += ((uint64_t)rows[r].pos + 1) * node->in[0]->n_col;
    const uint64_t n_item = (uint64_t)args->n_row * n_head;
#pragma omp parallel for num_threads(n_thread) schedule(dynamic) if (work > PM__CPU_WORTH)
    for (uint64_t item = 0; item < n_item; item++) {
        const uint32_t r = (uint32_t)(item / n_head), h = (uint32_t)(item % n_head);
        view head = {.node = node,
                     .args = args,
                     .q = (const float *)args->in[0] + item * node->params.attention.head_dim,
                     .k = k,
                     .v = v,
                     .h = h,
                     .seq = rows[r].seq,
                     .pos = rows[r].pos,
                     .slope = slope_of(node, h)};
        find_range(&head, &rows[r]);
        each(&head, (float *)args->out + item * n_out);
    }
}

void pm__cpu_attention(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    attend_all(node, args, n_thread, attend);
}

void pm__cpu_attention_split(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    attend_all(node, args, n_thread, attend_slices);
}

/* Of one head: [n_slice, n + PM__SLICE_END] -> [n]. Slices whose weights sum up to 0 are empty. */
static void merge(const float *slices, uint32_t n_slice, uint32_t n, double sink, float *y) {
    const size_t step = (size_t)n + PM__SLICE_END;
    double out[PM__MOST_HEAD_DIM] = {0}, most = sink, all = 0;
    for (uint32_t s = 0; s < n_slice; s++)
        if (slices[s * step + n + 1] > 0)
            most = fmax(most, (double)slices[s * step + n]);
    for (uint32_t s = 0; s < n_slice; s++) {
        const float *at = slices + s * step;
        if (!(at[n + 1] > 0))
            continue;
        const double weight = exp((double)at[n] - most);
        all += weight * (double)at[n + 1];
        for (uint32_t d = 0; d < n; d++)
            out[d] += weight * (double)at[d];
    }
    if (sink > -(double)INFINITY)
        all += exp(sink - most);
    for (uint32_t d = 0; d < n; d++)
        y[d] = all > 0 ? (float)(out[d] / all) : 0;
}

void pm__cpu_merge(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    (void)n_thread;
    const uint32_t n_head = node->params.attention.n_head;
    const uint32_t n = node->params.attention.head_dim_v;
    const uint32_t n_slice = node->params.attention.n_slice;
    for (uint64_t i = 0; i < (uint64_t)args->n_row * n_head; i++) {
        double sink = -(double)INFINITY;
        if (node->in[1] != NULL)
            sink = (double)pm__cpu_element(node->in[1], args->in[1], (uint32_t)(i % n_head));
        merge((const float *)args->in[0] + i * n_slice * (n + PM__SLICE_END), n_slice, n, sink,
              (float *)args->out + i * n);
    }
}
