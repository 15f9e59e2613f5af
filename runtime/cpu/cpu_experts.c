/* cpu_experts.c: mixtures of experts, as their formulas in graph/ops.def stand. */
#include "cpu_ops.h"

#include <math.h>

/* ---- route ----------------------------------------------------------------------------------- */

static double sigmoid(double x) {
    return 1.0 / (1.0 + exp(-x));
}

/* Gates of all experts of a row. Rounded to floats, as it is floats that are compared. */
static void gates_of(const pm__node *node, const float *logits, uint32_t n, float *gates) {
    double most = -INFINITY, sum = 0;
    for (uint32_t e = 0; e < n; e++)
        most = fmax(most, (double)logits[e]);
    for (uint32_t e = 0; e < n; e++)
        sum += exp((double)logits[e] - most);
    for (uint32_t e = 0; e < n; e++) {
        const double logit = (double)logits[e];
        switch (node->params.route.gating) {
        case PM__ROUTE_SOFTMAX:
            gates[e] = (float)(exp(logit - most) / sum);
            break;
        case PM__ROUTE_SIGMOID:
            gates[e] = (float)sigmoid(logit);
            break;
        case PM__ROUTE_SOFTMAX_CHOSEN:
            gates[e] = logits[e];
            break;
        }
    }
}

/* Whether expert or group a comes before b: NaNs last, of equal ones the first. */
static bool is_before(const float *values, uint32_t a, uint32_t b) {
    if (isnan(values[a]) || isnan(values[b]))
        return isnan(values[a]) == isnan(values[b]) ? a < b : isnan(values[b]);
    return values[a] > values[b] || (values[a] == values[b] && a < b);
}

/* The best of [0, n) that is not taken, which it then is. */
static uint32_t take_best(const float *values, bool *taken, uint32_t n) {
    uint32_t best = n;
    for (uint32_t i = 0; i < n; i++)
        if (!taken[i] && (best == n || is_before(values, i, best)))
            best = i;
    taken[best] = true;
    return best;
}

/* Sum of the two best of a group. */
static float group_score(const float *values, uint32_t n) {
    float first = -INFINITY, second = -INFINITY;
    for (uint32_t i = 0; i < n; i++) {
        if (values[i] > first) {
            second = first;
            first = values[i];
        } else if (values[i] > second) {
            second = values[i];
        }
    }
    return n > 1 ? first + second : first;
}

/* Marks the experts of all groups but the best as taken. */
static void drop_groups(const pm__node *node, const float *values, uint32_t n, bool *taken) {
    const uint32_t n_group = node->params.route.n_group, n_each = n / n_group;
    float scores[PM__MOST_EXPERTS];
    bool kept[PM__MOST_EXPERTS] = {false};
    for (uint32_t g = 0; g < n_group; g++)
        scores[g] = group_score(values + (size_t)g * n_each, n_each);
    for (uint32_t k = 0; k < node->params.route.n_group_used; k++)
        take_best(scores, kept, n_group);
    for (uint32_t e = 0; e < n; e++)
        taken[e] = !kept[e / n_each];
}

static double weight_of(const pm__node *node, const float *gates, const uint32_t *chosen,
                        uint32_t u) {
    const uint32_t n_used = node->params.route.n_used;
    const double least_sum = 6.103515625e-5; /* of weights, so that none is divided by zero */
    const double gate = (double)gates[chosen[u]];
    double most = -INFINITY, sum = 0;
    for (uint32_t i = 0; i < n_used; i++)
        most = fmax(most, (double)gates[chosen[i]]);
    const bool last = node->params.route.gating == PM__ROUTE_SOFTMAX_CHOSEN;
    for (uint32_t i = 0; i < n_used; i++)
        sum += last ? exp((double)gates[chosen[i]] - most) : (double)gates[chosen[i]];
    if (last)
        return exp(gate - most) / sum;
    return node->params.route.renorm ? gate / fmax(sum, least_sum) : gate;
}

static void route_row(const pm__node *node, const pm__cpu_args *args, uint32_t r) {
    const uint32_t n = node->in[0]->n_col, n_used = node->params.route.n_used;
    const float *logits = (const float *)args->in[0] + (size_t)r * n;
    float *y = (float *)args->out + (size_t)r * 2 * n_used;
    float gates[PM__MOST_EXPERTS], values[PM__MOST_EXPERTS];
    bool taken[PM__MOST_EXPERTS] = {false};
    uint32_t chosen[PM__MOST_EXPERTS];
    const bool grouped = node->params.route.n_group > 1;
    gates_of(node, logits, n, gates);
    for (uint32_t e = 0; e < n; e++) {
        values[e] = grouped || node->in[1] != NULL ? gates[e] : logits[e];
        if (node->in[1] != NULL)
            values[e] += pm__cpu_element(node->in[1], args->in[1], e);
    }
    if (grouped)
        drop_groups(node, values, n, taken);
    for (uint32_t u = 0; u < n_used; u++)
        chosen[u] = take_best(values, taken, n);
    for (uint32_t u = 0; u < n_used; u++) {
        double w = weight_of(node, gates, chosen, u) * (double)node->params.route.scale;
        if (node->in[2] != NULL)
            w *= (double)pm__cpu_element(node->in[2], args->in[2], chosen[u]);
        y[u] = (float)chosen[u];
        y[n_used + u] = (float)w;
    }
}

void pm__cpu_route(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    (void)n_thread;
    const uint32_t n_row = pm__cpu_rows(node->out, args);
    for (uint32_t r = 0; r < n_row; r++)
        route_row(node, args, r);
}

void pm__cpu_group(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    (void)n_thread;
    const uint32_t n_row = args->n_row, n_expert = node->out->n_col;
    const uint32_t n_used = node->in[0]->n_col / 2;
    const float *route = args->in[0];
    float *y = args->out;
    for (uint32_t e = 0; e < n_expert; e++) {
        uint32_t n = 0;
        for (uint32_t r = 0; r < n_row; r++)
            for (uint32_t u = 0; u < n_used; u++)
                if (route[(size_t)r * 2 * n_used + u] == (float)e)
                    y[(size_t)n++ * n_expert + e] = (float)(r * n_used + u);
        while (n < n_row)
            y[(size_t)n++ * n_expert + e] = -1.0f;
    }
}

/* ---- the matrices of the experts ------------------------------------------------------------- */

static const void *row_of(const pm__tensor *t, const void *data, size_t row) {
    uint64_t bytes = 0;
    pm__type_row_bytes(t->type, t->n_col, &bytes);
    return (const uint8_t *)data + row * (size_t)bytes;
}

typedef struct expert {
    const pm__node *node;
    const pm__cpu_args *args;
    uint32_t n_in, n_out, n_expert, n_slot;
    bool spread; /* x has columns of its own for each slot */
    uint32_t e;
} expert;

/* Row of y, slots counted, of the i-th row of the expert; false past its last. */
static bool place_of(const expert *x, uint32_t i, size_t *place) {
    if (i >= x->args->n_row)
        return false;
    *place = (size_t)i * x->n_slot + x->e;
    if (x->node->in[3] == NULL)
        return true;
    const float at = ((const float *)x->args->in[4])[(size_t)i * x->n_expert + x->e];
    *place = at >= 0 ? (size_t)at : 0;
    return at >= 0;
}

/* Column o of y in rows [first, ...) of the expert, at most PM__CPU_TILE of them. False if there
 * are none. */
static bool expert_tile(const expert *x, uint32_t o, uint32_t first) {
    const pm__tensor *w = x->node->in[1];
    const size_t row = (size_t)x->e * x->n_out + o;
    const float *rows[PM__CPU_TILE];
    size_t places[PM__CPU_TILE];
    double sums[PM__CPU_TILE] = {0};
    uint32_t n = 0;
    while (n < PM__CPU_TILE && place_of(x, first + n, &places[n])) {
        const size_t at = x->spread ? places[n] : places[n] / x->n_slot;
        rows[n++] = (const float *)x->args->in[0] + at * x->n_in;
    }
    for (uint32_t c = 0; c < x->n_in && n > 0; c += PM__CPU_CHUNK) {
        float chunk[PM__CPU_CHUNK];
        const uint32_t some = pm__least_u32(PM__CPU_CHUNK, x->n_in - c);
        pm__cpu_decode(w, row_of(w, x->args->in[1], row), c, some, chunk);
        for (uint32_t i = 0; i < n; i++)
            sums[i] += pm__cpu_dot(rows[i] + c, chunk, some);
    }
    const pm__tensor *bias = x->node->in[2], *scale = x->node->in[5];
    for (uint32_t i = 0; i < n; i++) {
        if (scale != NULL)
            sums[i] *= (double)pm__cpu_element(scale, x->args->in[5], x->e);
        if (bias != NULL)
            sums[i] += (double)pm__cpu_element(bias, x->args->in[2], x->e * x->n_out + o);
        ((float *)x->args->out)[places[i] * x->n_out + o] = (float)sums[i];
    }
    return n == PM__CPU_TILE;
}

void pm__cpu_experts_matmul(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    const uint32_t n_expert = node->params.experts.n_expert, n_slot = node->params.experts.n_slot;
    const uint32_t n_in = node->in[1]->n_col, n_out = node->in[1]->n_row / n_expert;
    const expert any = {.node = node,
                        .args = args,
                        .n_in = n_in,
                        .n_out = n_out,
                        .n_expert = n_expert,
                        .n_slot = n_slot,
                        .spread = node->in[0]->n_col != n_in || n_slot == 1};
    const uint64_t work = (uint64_t)args->n_row * n_slot * n_in * n_out;
#pragma omp parallel for num_threads(n_thread) if (work > PM__CPU_WORTH)
    for (uint32_t o = 0; o < n_out; o++) {
        expert x = any;
        for (x.e = 0; x.e < n_expert; x.e++)
            for (uint32_t first = 0; expert_tile(&x, o, first); first += PM__CPU_TILE)
                ;
    }
}

/* ---- mix and spread -------------------------------------------------------------------------- */

void pm__cpu_mix(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    const uint32_t n_row = pm__cpu_rows(node->out, args), n = node->out->n_col;
    const uint32_t n_used = node->in[0]->n_col / n;
    const float *x = args->in[0], *route = args->in[1], *residual = args->in[2];
    float *y = args->out;
#pragma omp parallel for num_threads(n_thread) if ((uint64_t)n_row * n > PM__CPU_WORTH)
    for (uint32_t r = 0; r < n_row; r++)
        for (uint32_t c = 0; c < n; c++) {
            double sum = node->in[2] != NULL ? (double)residual[(size_t)r * n + c] : 0.0;
            for (uint32_t u = 0; u < n_used; u++)
                sum += (double)x[((size_t)r * n_used + u) * n + c] *
                       (node->in[1] != NULL ? (double)route[(size_t)r * 2 * n_used + n_used + u]
                                            : 1.0);
            y[(size_t)r * n + c] = (float)sum;
        }
}

void pm__cpu_spread(const pm__node *node, const pm__cpu_args *args, int n_thread) {
    (void)n_thread;
    const uint32_t n_row = pm__cpu_rows(node->out, args), n = node->in[0]->n_col;
    const uint32_t n_used = node->in[1]->n_col / 2;
    const float *x = args->in[0], *route = args->in[1];
    float *y = args->out;
    for (uint32_t r = 0; r < n_row; r++)
        for (uint32_t u = 0; u < n_used; u++)
            for (uint32_t c = 0; c < n; c++)
                y[((size_t)r * n_used + u) * n + c] =
                    x[(size_t)r * n + c] * route[(size_t)r * 2 * n_used + n_used + u];
}
