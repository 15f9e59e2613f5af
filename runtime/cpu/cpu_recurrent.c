/* cpu_recurrent.c: what is carried from token to token. Rows of one sequence are neighbours, in
 * order of position; a state is read where a run of them begins, rounded to f32 after each row, and
 * written where it ends, so that it does not show where a prompt was cut. */
#include "cpu_ops.h"

#include <math.h>
#include <string.h>

/* ---- runs of rows ---------------------------------------------------------------------------- */

typedef struct run {
    uint32_t first, n; /* rows of a step, all of one sequence */
    float *state;      /* of the sequence */
    bool fresh;        /* position 0: the state counts as zeros */
} run;

/* The run that begins at row `first`; false past the last. */
static bool next_run(const pm__cpu_args *args, const pm__node *node, int state, run *out) {
    const int rows_input = state + 1; /* in every operation of this file */
    const struct pm_step_row *rows = pm__cpu_step_rows(args->in[rows_input]);
    const uint32_t first = out->first + out->n;
    if (first >= args->n_row)
        return false;
    uint32_t n = 1;
    while (first + n < args->n_row && rows[first + n].seq == rows[first].seq)
        n++;
    float *all = (float *)(uintptr_t)args->in[state];
    *out = (run){.first = first,
                 .n = n,
                 .state = all + (size_t)rows[first].seq * node->in[state]->n_col,
                 .fresh = rows[first].pos == 0};
    return true;
}

static void load_state(const run *r, size_t first, uint32_t n, float *out) {
    for (uint32_t i = 0; i < n; i++)
        out[i] = r->fresh ? 0.0f : r->state[first + i];
}

static void decode_row(const pm__tensor *w, const void *data, uint32_t row, float *out) {
    uint64_t stride = 0;
    pm__type_row_bytes(w->type, w->n_col, &stride);
    pm__type_decode(w->type, (const uint8_t *)data + row * stride, w->n_col, out);
}

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double softplus(double x) {
    return fmax(x, 0) + log1p(exp(-fabs(x)));
}

/* ---- convolution ----------------------------------------------------------------------------- */

static void conv_column(const pm__node *node, const pm__cpu_args *args, const run *at, uint32_t c) {
    const uint32_t n_tap = node->in[1]->n_col, n_col = node->out->n_col;
    const double bias =
        node->in[2] != NULL ? (double)pm__cpu_element(node->in[2], args->in[2], c) : 0.0;
    float taps[PM__MOST_TAPS], seen[PM__MOST_TAPS];
    decode_row(node->in[1], args->in[1], c, taps);
    for (uint32_t j = 0; j < n_tap - 1; j++)
        load_state(at, (size_t)j * n_col + c, 1, &seen[j]);
    for (uint32_t r = at->first; r < at->first + at->n; r++) {
        seen[n_tap - 1] = ((const float *)args->in[0])[(size_t)r * n_col + c];
        double sum = bias;
        for (uint32_t j = 0; j < n_tap; j++)
            sum += (double)taps[j] * (double)seen[j];
        ((float *)args->out)[(size_t)r * n_col + c] =
            (float)(node->params.conv.silu ? sum * sigmoid(sum) : sum);
        memmove(seen, seen + 1, (n_tap - 1) * sizeof seen[0]);
    }
    for (uint32_t j = 0; j < n_tap - 1; j++)
        at->state[(size_t)j * n_col + c] = seen[j];
}

void pm__cpu_conv(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    const uint32_t n_col = node->out->n_col;
    const uint64_t work = (uint64_t)args->n_row * n_col * node->in[1]->n_col;
    run at = {0};
    while (next_run(args, node, 3, &at)) {
#pragma omp parallel for num_threads(n_thread) if (work > PM__CPU_WORTH)
        for (uint32_t c = 0; c < n_col; c++)
            conv_column(node, args, &at, c);
    }
}

/* ---- state spaces ---------------------------------------------------------------------------- */

/* One column of one row. */
typedef struct ssm_row {
    const float *b, *c; /* [n_state] */
    double x, dt, d;    /* dt before softplus */
} ssm_row;

/* a: [n_state], or one value for all where one is true. */
static float ssm_step(float *h, uint32_t n_state, const float *a, bool one, const ssm_row *row) {
    const double dt = softplus(row->dt), dx = dt * row->x;
    double y = 0, decay = one ? exp(dt * (double)a[0]) : 0;
    for (uint32_t s = 0; s < n_state; s++) {
        if (!one)
            decay = exp(dt * (double)a[s]);
        h[s] = (float)((double)h[s] * decay + dx * (double)row->b[s]);
        y += (double)h[s] * (double)row->c[s];
    }
    return (float)(y + row->d * row->x);
}

static void ssm_column(const pm__node *node, const pm__cpu_args *args, const run *at, uint32_t c) {
    const uint32_t n_col = node->out->n_col, n_state = node->params.scan.n_state;
    const float *x = args->in[0], *dt = args->in[1], *bc = args->in[2];
    const double d = (double)pm__cpu_element(node->in[4], args->in[4], c);
    float a[PM__MOST_SSM_STATE], h[PM__MOST_SSM_STATE];
    decode_row(node->in[3], args->in[3], c, a);
    load_state(at, (size_t)c * n_state, n_state, h);
    for (uint32_t r = at->first; r < at->first + at->n; r++) {
        const size_t i = (size_t)r * n_col + c;
        const float *b = bc + (size_t)r * 2 * n_state;
        const ssm_row row = {b, b + n_state, (double)x[i], (double)dt[i], d};
        ((float *)args->out)[i] = ssm_step(h, n_state, a, false, &row);
    }
    memcpy(at->state + (size_t)c * n_state, h, n_state * sizeof h[0]);
}

void pm__cpu_ssm_scan(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    const uint32_t n_col = node->out->n_col;
    const uint64_t work = (uint64_t)args->n_row * n_col * node->params.scan.n_state;
    run at = {0};
    while (next_run(args, node, 5, &at)) {
#pragma omp parallel for num_threads(n_thread) if (work > PM__CPU_WORTH)
        for (uint32_t c = 0; c < n_col; c++)
            ssm_column(node, args, &at, c);
    }
}

static void ssm2_column(const pm__node *node, const pm__cpu_args *args, const run *at, uint32_t c) {
    const uint32_t n_col = node->out->n_col, n_state = node->params.scan.n_state;
    const uint32_t n_head = node->params.scan.n_head, n_group = node->params.scan.n_group;
    const uint32_t head = c / (n_col / n_head), group = head / (n_head / n_group);
    const float *xbc = args->in[0], *dt = args->in[1];
    const float a = pm__cpu_element(node->in[2], args->in[2], head);
    const double d = (double)pm__cpu_element(node->in[3], args->in[3], head);
    float h[PM__MOST_SSM_STATE];
    load_state(at, (size_t)c * n_state, n_state, h);
    for (uint32_t r = at->first; r < at->first + at->n; r++) {
        const float *x = xbc + (size_t)r * node->in[0]->n_col;
        const float *b = x + n_col + (size_t)group * n_state;
        const ssm_row row = {b, b + (size_t)n_group * n_state, (double)x[c],
                             (double)dt[(size_t)r * n_head + head], d};
        ((float *)args->out)[(size_t)r * n_col + c] = ssm_step(h, n_state, &a, true, &row);
    }
    memcpy(at->state + (size_t)c * n_state, h, n_state * sizeof h[0]);
}

void pm__cpu_ssm2_scan(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    const uint32_t n_col = node->out->n_col;
    const uint64_t work = (uint64_t)args->n_row * n_col * node->params.scan.n_state;
    run at = {0};
    while (next_run(args, node, 4, &at)) {
#pragma omp parallel for num_threads(n_thread) if (work > PM__CPU_WORTH)
        for (uint32_t c = 0; c < n_col; c++)
            ssm2_column(node, args, &at, c);
    }
}

/* ---- delta rules ----------------------------------------------------------------------------- */

/* m: column of the state that belongs to column c of the values, [head_dim] by keys */
static void delta_column(const pm__node *node, const pm__cpu_args *args, const run *at,
                         uint32_t c) {
    const uint32_t n = node->params.delta_net.head_dim, n_head = node->params.delta_net.n_head;
    const uint32_t n_head_k = node->params.delta_net.n_head_k, head = c / n;
    const uint32_t head_k =
        node->params.delta_net.tiled ? head % n_head_k : head / (n_head / n_head_k);
    const float *v = args->in[1], *b = args->in[2], *a = args->in[3];
    const double decay = (double)pm__cpu_element(node->in[4], args->in[4], head);
    float m[PM__MOST_DELTA_HEAD];
    load_state(at, (size_t)c * n, n, m);
    for (uint32_t r = at->first; r < at->first + at->n; r++) {
        const float *q =
            (const float *)args->in[0] + (size_t)r * node->in[0]->n_col + (size_t)head_k * n;
        const float *k = q + (size_t)n_head_k * n;
        const size_t i = (size_t)r * n_head + head, o = (size_t)r * node->out->n_col + c;
        const double g = exp(decay * softplus((double)a[i]));
        const double delta = sigmoid((double)b[i]) * ((double)v[o] - g * pm__cpu_dot(m, k, n));
        for (uint32_t s = 0; s < n; s++)
            m[s] = (float)(g * (double)m[s] + (double)k[s] * delta);
        ((float *)args->out)[o] = (float)(pm__cpu_dot(m, q, n) / sqrt(n));
    }
    memcpy(at->state + (size_t)c * n, m, n * sizeof m[0]);
}

void pm__cpu_delta_net(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    const uint32_t n_col = node->out->n_col;
    const uint64_t work = (uint64_t)args->n_row * n_col * node->params.delta_net.head_dim;
    run at = {0};
    while (next_run(args, node, 5, &at)) {
#pragma omp parallel for num_threads(n_thread) if (work > PM__CPU_WORTH)
        for (uint32_t c = 0; c < n_col; c++)
            delta_column(node, args, &at, c);
    }
}

/* m: row of the state that belongs to column c of the values, [head_dim] by keys */
static void wkv7_column(const pm__node *node, const pm__cpu_args *args, const run *at, uint32_t c) {
    const uint32_t n = node->params.wkv7.head_dim, n_col = node->out->n_col;
    float m[PM__MOST_DELTA_HEAD];
    load_state(at, (size_t)c * n, n, m);
    for (uint32_t row = at->first; row < at->first + at->n; row++) {
        const size_t head = (size_t)row * n_col + c / n * n;
        const float *r = (const float *)args->in[0] + head, *w = (const float *)args->in[1] + head;
        const float *k = (const float *)args->in[2] + head;
        const float *kk = (const float *)args->in[4] + (size_t)row * 2 * n_col + c / n * n;
        const float *kka = kk + n_col;
        const double v = (double)((const float *)args->in[3])[(size_t)row * n_col + c];
        const double removed = pm__cpu_dot(m, kk, n);
        for (uint32_t s = 0; s < n; s++)
            m[s] = (float)((double)m[s] * exp(-(double)0.606531f * sigmoid((double)w[s])) +
                           v * (double)k[s] - removed * (double)kka[s]);
        ((float *)args->out)[(size_t)row * n_col + c] = (float)pm__cpu_dot(m, r, n);
    }
    memcpy(at->state + (size_t)c * n, m, n * sizeof m[0]);
}

void pm__cpu_wkv7(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    const uint32_t n_col = node->out->n_col;
    const uint64_t work = (uint64_t)args->n_row * n_col * node->params.wkv7.head_dim;
    run at = {0};
    while (next_run(args, node, 5, &at)) {
#pragma omp parallel for num_threads(n_thread) if (work > PM__CPU_WORTH)
        for (uint32_t c = 0; c < n_col; c++)
            wkv7_column(node, args, &at, c);
    }
}

void pm__cpu_wkv7_bonus(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    const uint32_t n_row = pm__cpu_rows(node->out, args), n_col = node->out->n_col;
    const uint32_t n = node->params.wkv7.head_dim;
    const float *y = args->in[0], *r = args->in[1], *k = args->in[2], *v = args->in[3];
    float *out = args->out;
#pragma omp parallel for num_threads(n_thread) if ((uint64_t)n_row * n_col > PM__CPU_WORTH)
    for (uint64_t head = 0; head < (uint64_t)n_row * (n_col / n); head++) {
        const size_t first = head * n;
        double sum = 0;
        for (uint32_t s = 0; s < n; s++)
            sum += (double)r[first + s] * (double)k[first + s] *
                   (double)pm__cpu_element(node->in[4], args->in[4], (uint32_t)(first % n_col) + s);
        for (uint32_t s = 0; s < n; s++)
            out[first + s] = (float)((double)y[first + s] + sum * (double)v[first + s]);
    }
}

/* ---- the row before -------------------------------------------------------------------------- */

void pm__cpu_shift(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    (void)n_thread;
    const size_t n = node->out->n_col;
    const float *x = args->in[0];
    float *y = args->out;
    run at = {0};
    while (next_run(args, node, 1, &at)) {
        load_state(&at, 0, (uint32_t)n, y + at.first * n);
        memcpy(y + (at.first + 1) * n, x + at.first * n, (at.n - 1) * n * sizeof *y);
        memcpy(at.state, x + (at.first + at.n - 1) * n, n * sizeof *y);
    }
}

void pm__cpu_lerp(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    const size_t n_row = pm__cpu_rows(node->out, args), n_col = node->out->n_col;
    const float *a = args->in[0], *b = args->in[1], *each = args->in[2];
    const bool one = node->in[2]->kind == PM__WEIGHT;
    float *y = args->out;
#pragma omp parallel for num_threads(n_thread) if (n_row * n_col > PM__CPU_WORTH)
    for (size_t c = 0; c < n_col; c++) {
        const double w = one ? (double)pm__cpu_element(node->in[2], args->in[2], (uint32_t)c) : 0;
        for (size_t i = c; i < n_row * n_col; i += n_col)
            y[i] =
                (float)((double)a[i] + ((double)b[i] - (double)a[i]) * (one ? w : (double)each[i]));
    }
}
