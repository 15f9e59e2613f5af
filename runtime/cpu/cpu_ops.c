/* cpu_ops.c: tokens, matrices and positions, as their formulas in graph/ops.def stand, and the
 * dispatch to all operations. */
#include "cpu_ops.h"

#include "../base/threads.h"
#include "../graph/blocks.h"

#include <math.h>
#include <string.h>

static size_t bytes_of(pm__type type, uint64_t n) {
    uint64_t bytes = 0;
    pm__type_row_bytes(type, n, &bytes);
    return (size_t)bytes;
}

void pm__cpu_decode(const pm__tensor *w, const void *row, uint32_t first, uint32_t n, float *out) {
    pm__type_decode(w->type, (const uint8_t *)row + bytes_of(w->type, first), n, out);
}

const void *pm__cpu_piece(const pm__tensor **w, const void *base, bool columns, uint32_t *i) {
    const pm__tensor *whole = *w;
    const void *const *pieces = base;
    if (whole->n_joined == 0)
        return base;
    for (uint32_t p = 0;; p++) {
        *w = whole->joined[p];
        const uint32_t n = columns ? (*w)->n_col : (*w)->n_row;
        if (*i < n)
            return pieces[p];
        *i -= n;
    }
}

float pm__cpu_element(const pm__tensor *w, const void *row, uint32_t i) {
    float block[PM__CPU_CHUNK];
    row = pm__cpu_piece(&w, row, true, &i);
    const pm__type_info *info = pm__type_get(w->type);
    if (w->type == PM__TYPE_F32) {
        memcpy(block, (const uint8_t *)row + i * sizeof block[0], sizeof block[0]);
        return block[0];
    }
    const size_t skip = (size_t)(i / info->block_n) * info->block_bytes;
    pm__type_decode(w->type, (const uint8_t *)row + skip, info->block_n, block);
    return block[i % info->block_n];
}

void pm__cpu_embed(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    (void)n_thread;
    const pm__tensor *w = node->in[0];
    const struct pm_step_row *rows = pm__cpu_step_rows(args->in[1]);
    const size_t stride = bytes_of(w->type, w->n_col);
    for (uint32_t r = 0; r < args->n_row; r++) {
        const uint32_t at =
            node->params.embed.positions ? pm__least_u32(rows[r].pos, w->n_row - 1) : rows[r].token;
        pm__type_decode(w->type, (const uint8_t *)args->in[0] + at * stride, w->n_col,
                        (float *)args->out + (size_t)r * w->n_col);
    }
}

/* Rows [first, first + rows) of x. */
typedef struct tile {
    uint32_t first, rows;
} tile;

/* Row r of x, which has n_in elements. */
static const float *row_of_x(const pm__node *node, const pm__cpu_args *args, uint32_t r) {
    return (const float *)args->in[0] + (size_t)r * node->in[0]->n_col;
}

static void read_blocks(const float *row, uint32_t n_in, uint32_t first, uint32_t n, float *out) {
    for (uint32_t c = 0; c < n; c += PM__BLOCK_N)
        pm__block_read((const uint32_t *)(const void *)row, (first + c) / PM__BLOCK_N,
                       n_in / PM__BLOCK_N, out + c);
}

/* Elements [first, first + n) of a row of x, times the weights of the norm; where it is normed adds
 * their squares. */
static const float *columns_of_x(const pm__node *node, const pm__cpu_args *args, const float *x,
                                 uint32_t first, uint32_t n, double *squares, float *out) {
    if (node->params.matmul.dot8) {
        read_blocks(x, node->in[1]->n_col, first, n, out);
        return out;
    }
    x += first;
    if (!node->params.matmul.normed)
        return x;
    *squares += pm__cpu_dot(x, x, n);
    for (uint32_t c = 0; c < n; c++)
        out[c] = node->in[5] != NULL ? x[c] * pm__cpu_element(node->in[5], args->in[5], first + c)
                                     : x[c];
    return out;
}

/* Row o of the weight times each row of x, with all that is added but the residual. */
static void weight_row(const pm__node *node, const pm__cpu_args *args, uint32_t o, tile t,
                       double sums[PM__CPU_TILE]) {
    const pm__tensor *w = node->in[1];
    const uint32_t n_in = w->n_col;
    const double bias =
        node->in[2] != NULL ? (double)pm__cpu_element(node->in[2], args->in[2], o) : 0.0;
    const double scale =
        node->in[4] != NULL ? (double)pm__cpu_element(node->in[4], args->in[4], 0) : 1;
    const uint8_t *weight = pm__cpu_piece(&w, args->in[1], false, &o);
    double squares[PM__CPU_TILE] = {0};
    weight += o * bytes_of(w->type, n_in);
    for (uint32_t r = 0; r < t.rows; r++)
        sums[r] = 0;
    for (uint32_t first = 0; first < n_in; first += PM__CPU_CHUNK) {
        float chunk[PM__CPU_CHUNK], normed[PM__CPU_CHUNK];
        const uint32_t some = pm__least_u32(PM__CPU_CHUNK, n_in - first);
        pm__cpu_decode(w, weight, first, some, chunk);
        for (uint32_t r = 0; r < t.rows; r++) {
            const float *x = row_of_x(node, args, t.first + r);
            x = columns_of_x(node, args, x, first, some, &squares[r], normed);
            sums[r] += pm__cpu_dot(x, chunk, some);
        }
    }
    for (uint32_t r = 0; r < t.rows; r++) {
        if (node->params.matmul.normed)
            sums[r] /= sqrt(squares[r] / n_in + (double)node->params.matmul.eps);
        sums[r] = sums[r] * scale + bias;
    }
}

/* Column o of y. */
static void matmul_column(const pm__node *node, const pm__cpu_args *args, uint32_t o) {
    const uint32_t n_row = pm__cpu_rows(node->out, args), n_out = node->out->n_col;
    const float *residual = args->in[3];
    for (tile t = {0}; t.first < n_row; t.first += PM__CPU_TILE) {
        double sums[PM__CPU_TILE], up[PM__CPU_TILE];
        t.rows = pm__least_u32(PM__CPU_TILE, n_row - t.first);
        weight_row(node, args, o, t, sums);
        if (node->params.matmul.gated)
            weight_row(node, args, n_out + o, t, up);
        for (uint32_t r = 0; r < t.rows; r++) {
            const size_t at = (size_t)(t.first + r) * n_out + o;
            double y = sums[r] + (node->in[3] != NULL ? (double)residual[at] : 0.0);
            if (node->params.matmul.gated)
                y = pm__cpu_gate(node->params.matmul.glu, sums[r], up[r]);
            ((float *)args->out)[at] = (float)y;
        }
    }
}

void pm__cpu_matmul(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    const uint32_t n_out = node->out->n_col;
    const uint64_t work =
        (uint64_t)pm__cpu_rows(node->out, args) * node->in[1]->n_col * node->in[1]->n_row;
#pragma omp parallel for num_threads(n_thread) if (work > PM__CPU_WORTH)
    for (uint32_t o = 0; o < n_out; o++)
        matmul_column(node, args, o);
}

void pm__cpu_quantize(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    (void)n_thread;
    const uint32_t n_block = node->in[0]->n_col / PM__BLOCK_N;
    for (uint32_t r = 0; r < pm__cpu_rows(node->out, args); r++)
        for (uint32_t i = 0; i < n_block; i++)
            pm__block_write(row_of_x(node, args, r) + (size_t)i * PM__BLOCK_N, i, n_block,
                            (uint32_t *)args->out + (size_t)r * n_block * PM__BLOCK_WORDS);
}

/* Cosine and sine of pair i at a position. */
static void turn_of(const pm__rope_params *rope, const pm__tensor *factors, const void *data,
                    uint32_t i, uint32_t pos, double *c, double *s) {
    const double factor = factors != NULL ? (double)pm__cpu_element(factors, data, i) : 1;
    const double frequency =
        (double)rope->freq_scale * pow((double)rope->freq_base, -2.0 * i / rope->n_rot) / factor;
    *c = (double)rope->scale * cos(pos * frequency);
    *s = (double)rope->scale * sin(pos * frequency);
}

static void turn_pair(const pm__rope_params *rope, uint32_t i, double c, double s, float *head) {
    const bool pairs = rope->style == PM__ROPE_PAIRS;
    float *a = head + (pairs ? 2 * i : i), *b = pairs ? a + 1 : a + rope->n_rot / 2;
    const double xa = (double)*a, xb = (double)*b;
    *a = (float)(xa * c - xb * s);
    *b = (float)(xa * s + xb * c);
}

void pm__cpu_rotate(const pm__rope_params *rope, uint32_t pos, const pm__tensor *factors,
                    const void *data, float *head) {
    double c, s;
    for (uint32_t i = 0; i < rope->n_rot / 2; i++) {
        turn_of(rope, factors, data, i, pos, &c, &s);
        turn_pair(rope, i, c, s, head);
    }
}

void pm__cpu_rope(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    (void)n_thread;
    const pm__rope_params *rope = &node->params.rope;
    const uint32_t n = node->out->n_col, n_head = n / rope->head_dim;
    const struct pm_step_row *rows = pm__cpu_step_rows(args->in[1]);
    const float *x = args->in[0];
    float *y = args->out;
    double c, s;
    if (y != x)
        memcpy(y, x, (size_t)args->n_row * n * sizeof *y);
    for (uint32_t r = 0; r < args->n_row; r++)
        for (uint32_t i = 0; i < rope->n_rot / 2; i++) {
            turn_of(rope, node->in[2], args->in[2], i, rows[r].pos, &c, &s);
            for (uint32_t h = 0; h < n_head; h++)
                turn_pair(rope, i, c, s, y + (size_t)r * n + h * rope->head_dim);
        }
}

/* ---- dispatch -------------------------------------------------------------------------------- */

static void (*const ops[])(const pm__node *, const pm__cpu_args *, int) = {
#define PM_OP(NAME, name, matrix, nmse, what) [PM__OP_##NAME] = pm__cpu_##name,
#include "../graph/ops.def"
#undef PM_OP
};

void pm__cpu_run(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    ops[node->op](node, args, pm__cpu_threads(n_thread));
}

void pm__cpu_run_node(const pm__node *node, const pm__cpu_args *args) {
    pm__cpu_run(node, args, pm__thread_count());
}
