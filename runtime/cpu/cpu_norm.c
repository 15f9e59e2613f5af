/* cpu_norm.c: norms, whole rows or head by head. */
#include "cpu_ops.h"

#include <math.h>

/* Element of a vector for all columns or for those of one head. */
static double vector_at(const pm__tensor *t, const void *data, uint32_t column, double otherwise) {
    return t != NULL ? (double)pm__cpu_element(t, data, column % t->n_col) : otherwise;
}

static double sum_of(const float *x, uint32_t n) {
    double sum = 0;
    for (uint32_t c = 0; c < n; c++)
        sum += (double)x[c];
    return sum;
}

static double sum_of_squares(const float *x, uint32_t n, double mean) {
    double sum = 0;
    for (uint32_t c = 0; c < n; c++)
        sum += ((double)x[c] - mean) * ((double)x[c] - mean);
    return sum;
}

/* What is taken from each column, and what the rest is multiplied by. */
static double find_scale(const pm__node *node, const float *x, double *mean) {
    const uint32_t n = node->params.norm.head_dim;
    const double eps = (double)node->params.norm.eps;
    *mean = node->op == PM__OP_LAYERNORM ? sum_of(x, n) / n : 0;
    const double squares = sum_of_squares(x, n, *mean);
    return node->op == PM__OP_L2NORM ? 1 / fmax(sqrt(squares), eps) : 1 / sqrt(squares / n + eps);
}

static void norm_row(const pm__node *node, const pm__cpu_args *args, uint32_t r) {
    const uint32_t n = node->out->n_col, head_dim = node->params.norm.head_dim;
    const float *x = (const float *)args->in[0] + (size_t)r * n;
    float *y = (float *)args->out + (size_t)r * n;
    for (uint32_t head = 0; head < n; head += head_dim) {
        double mean;
        const double scale = find_scale(node, x + head, &mean);
        for (uint32_t c = head; c < head + head_dim; c++)
            y[c] =
                (float)(((double)x[c] - mean) * scale * vector_at(node->in[1], args->in[1], c, 1) +
                        vector_at(node->in[2], args->in[2], c, 0));
    }
}

static void norm(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    const uint32_t n_row = pm__cpu_rows(node->out, args), n = node->out->n_col;
#pragma omp parallel for num_threads(n_thread) if ((uint64_t)n_row * n > PM__CPU_WORTH)
    for (uint32_t r = 0; r < n_row; r++)
        norm_row(node, args, r);
}

void pm__cpu_rmsnorm(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    norm(node, args, n_thread);
}

void pm__cpu_layernorm(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    norm(node, args, n_thread);
}

void pm__cpu_l2norm(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    norm(node, args, n_thread);
}
