/* cpu_ops.h: one function an operation, and what they share. Results do not depend on n_thread: a
 * thread owns whole outputs. */
#ifndef PM_CPU_CPU_OPS_H
#define PM_CPU_CPU_OPS_H

#include "../../shaders/params.h"
#include "../base/checked.h"
#include "cpu.h"

#define PM_OP(NAME, name, matrix, nmse, what)                                                      \
    void pm__cpu_##name(const pm__node *node, const pm__cpu_args *args, int n_thread);
#include "../graph/ops.def"
#undef PM_OP

/* How many of that many threads there can be. The first call for more than before starts them. */
int pm__cpu_threads(int wanted);

/* Runs a node with as many threads as given, or as there can be. */
void pm__cpu_run(const pm__node *node, const pm__cpu_args *args, int n_thread);

/* CHUNK: elements of a weight row decoded at once, a multiple of every block. TILE: rows of x that
 * share a decoded row. */
enum { PM__CPU_CHUNK = 512, PM__CPU_TILE = 32 };

/* Elements [first, first + n) of a weight's row, first a multiple of PM__CPU_CHUNK. */
void pm__cpu_decode(const pm__tensor *w, const void *row, uint32_t first, uint32_t n, float *out);
/* The piece of a joined weight that row (or column) i is of, and its place in there; any other
 * weight stays what it is. */
const void *pm__cpu_piece(const pm__tensor **w, const void *base, bool columns, uint32_t *i);
/* Element i of a weight's row, of any type. */
float pm__cpu_element(const pm__tensor *w, const void *row, uint32_t i);

/* Fewer multiplications than this (some 0.1 ms) are not worth a team of threads, least of all on a
 * busy machine. */
enum { PM__CPU_WORTH = 1 << 17 };

/* Sum of a[i] * b[i] in double: eight partial sums in a fixed order, which compilers can keep in
 * vectors. */
static inline double pm__cpu_dot(const float *a, const float *b, uint32_t n) {
    double sums[8] = {0}, tail = 0;
    const float *const end = a + n / 8 * 8;
    for (; a < end; a += 8, b += 8)
        for (int k = 0; k < 8; k++)
            sums[k] += (double)a[k] * (double)b[k];
    for (uint32_t k = 0; k < n % 8; k++)
        tail += (double)a[k] * (double)b[k];
    return ((sums[0] + sums[4]) + (sums[2] + sums[6])) +
           ((sums[1] + sums[5]) + (sums[3] + sums[7])) + tail;
}

/* Rotates the pairs of one head. factors: [1, n_rot/2] or NULL, and its data */
void pm__cpu_rotate(const pm__rope_params *rope, uint32_t pos, const pm__tensor *factors,
                    const void *data, float *head);

/* f(gate, up) of functions.def. */
double pm__cpu_gate(pm__glu_kind kind, double gate, double up);

static inline uint32_t pm__cpu_rows(const pm__tensor *t, const pm__cpu_args *args) {
    return t->rows == PM__ROWS_FIXED ? t->n_row
           : t->rows == PM__ROWS_OUT ? args->n_out
                                     : args->n_row;
}

static inline const struct pm_step_row *pm__cpu_step_rows(const void *part) {
    return (const struct pm_step_row *)((const struct pm_step_head *)part + 1);
}

/* Row of a cache that holds a position of a sequence. */
static inline size_t pm__cpu_cache_row(const pm__limits *limits, const uint32_t *pages,
                                       uint32_t seq, uint32_t pos) {
    const size_t stride = pm__ceil_div(limits->n_ctx, PM_PAGE);
    return (size_t)pages[seq * stride + pos / PM_PAGE] * PM_PAGE + pos % PM_PAGE;
}

#endif
