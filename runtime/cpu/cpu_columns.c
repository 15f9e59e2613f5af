/* cpu_columns.c: what is done column by column (graph/functions.def), and with columns. */
#include "cpu_ops.h"

#include <math.h>
#include <string.h>

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double gelu(double x) {
    return 0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
}

static double unary(const pm__node *node, double x) {
    const double a = (double)node->params.unary.a, b = (double)node->params.unary.b;
    switch (node->params.unary.kind) {
    case PM__GELU:
        return gelu(x);
    case PM__SILU:
        return x * sigmoid(x);
    case PM__RELU:
        return fmax(x, 0);
    case PM__RELU2:
        return fmax(x, 0) * fmax(x, 0);
    case PM__SIGMOID:
        return sigmoid(x);
    case PM__TANH:
        return tanh(x);
    case PM__SOFTPLUS:
        return fmax(x, 0) + log1p(exp(-fabs(x)));
    case PM__EXP:
        return exp(x);
    case PM__SCALE:
        return a * x;
    case PM__SOFTCAP:
        return a * tanh(x / a);
    case PM__CLAMP:
        return fmin(fmax(x, a), b);
    case PM__UNARY_COUNT:
        break;
    }
    return x;
}

void pm__cpu_unary(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    const size_t n = (size_t)pm__cpu_rows(node->out, args) * node->out->n_col;
    const float *x = args->in[0];
    float *y = args->out;
#pragma omp parallel for num_threads(n_thread) if (n > PM__CPU_WORTH)
    for (size_t i = 0; i < n; i++)
        y[i] = (float)unary(node, (double)x[i]);
}

double pm__cpu_gate(pm__glu_kind kind, double gate, double up) {
    switch (kind) {
    case PM__GLU_SILU:
        return gate * sigmoid(gate) * up;
    case PM__GLU_GELU:
        return gelu(gate) * up;
    case PM__GLU_RELU:
        return fmax(gate, 0) * up;
    case PM__GLU_CLAMPED:
        gate = fmin(gate, 7);
        return gate * sigmoid((double)1.702f * gate) * (fmin(fmax(up, -7), 7) + 1);
    case PM__GLU_SIGMOID:
        return sigmoid(gate) * up;
    case PM__GLU_COUNT:
        break;
    }
    return up;
}

void pm__cpu_glu(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    const size_t n = (size_t)pm__cpu_rows(node->out, args) * node->out->n_col;
    const float *gate = args->in[0], *up = args->in[1];
    float *y = args->out;
#pragma omp parallel for num_threads(n_thread) if (n > PM__CPU_WORTH)
    for (size_t i = 0; i < n; i++)
        y[i] = (float)pm__cpu_gate(node->params.glu.kind, (double)gate[i], (double)up[i]);
}

/* b as it spreads over a: element b[r * by_row + c * by_column]. */
typedef struct spread {
    size_t by_row, by_column;
} spread;

static spread spread_of(const pm__tensor *b) {
    return (spread){.by_row = b->rows != PM__ROWS_FIXED ? b->n_col : 0,
                    .by_column = b->n_col > 1 ? 1 : 0};
}

static float operand(const pm__tensor *b, const void *data, size_t i) {
    return b->kind == PM__WEIGHT ? pm__cpu_element(b, data, (uint32_t)i) : ((const float *)data)[i];
}

static void binary(const pm__node *node, const pm__cpu_args *args, bool times) {
    const uint32_t n_row = pm__cpu_rows(node->out, args), n = node->out->n_col;
    const pm__tensor *b = node->in[1];
    const spread at = spread_of(b);
    for (uint32_t r = 0; r < n_row; r++) {
        const float *x = (const float *)args->in[0] + (size_t)r * n;
        float *y = (float *)args->out + (size_t)r * n;
        for (uint32_t c = 0; c < n; c++) {
            const float z = operand(b, args->in[1], r * at.by_row + c * at.by_column);
            y[c] = times ? x[c] * z : x[c] + z;
        }
    }
}

void pm__cpu_add(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    (void)n_thread;
    binary(node, args, false);
}

void pm__cpu_mul(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    (void)n_thread;
    binary(node, args, true);
}

void pm__cpu_temper(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    (void)n_thread;
    const struct pm_step_row *rows = pm__cpu_step_rows(args->in[1]);
    const uint32_t n = node->out->n_col, original = node->params.temper.original;
    const uint32_t ahead = node->params.temper.ahead;
    for (uint32_t r = 0; r < args->n_row; r++) {
        const uint32_t turns = (rows[r].pos + ahead) / original;
        const double scale = 1 + (double)node->params.temper.scale * log1p(turns);
        const float *x = (const float *)args->in[0] + (size_t)r * n;
        float *y = (float *)args->out + (size_t)r * n;
        for (uint32_t c = 0; c < n; c++)
            y[c] = (float)((double)x[c] * scale);
    }
}

void pm__cpu_slice(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    (void)n_thread;
    const size_t n = node->params.slice.n, stride = node->params.slice.stride;
    const size_t n_group = (size_t)pm__cpu_rows(node->out, args) * node->params.slice.n_group;
    const float *x = (const float *)args->in[0] + node->params.slice.first;
    for (size_t group = 0; group < n_group; group++)
        memcpy((float *)args->out + group * n, x + group * stride, n * sizeof *x);
}

void pm__cpu_concat(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    (void)n_thread;
    const size_t n_a = node->params.concat.n_a, n_b = node->params.concat.n_b;
    const uint32_t n_row = pm__cpu_rows(node->out, args), n_group = node->params.concat.n_group;
    const float *a = args->in[0];
    float *y = args->out;
    for (uint32_t r = 0; r < n_row; r++) {
        const float *b = (const float *)args->in[1] + (size_t)r * node->in[1]->n_col;
        for (uint32_t group = 0; group < n_group; group++, a += n_a, y += n_a + n_b) {
            memcpy(y, a, n_a * sizeof *y);
            memcpy(y + n_a, b + (size_t)group * node->params.concat.b_stride, n_b * sizeof *y);
        }
    }
}

void pm__cpu_select(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    (void)n_thread;
    const size_t n = node->out->n_col;
    const uint32_t *outs = args->in[1];
    for (uint32_t i = 0; i < args->n_out; i++)
        memcpy((float *)args->out + i * n, (const float *)args->in[0] + outs[i] * n,
               n * sizeof(float));
}
