/* graph.c: facts about operations and nodes: names, reads and writes, cost. */
#include "graph.h"

#include <string.h>

static const pm__op_info ops[] = {
#define PM_OP(NAME, word, input, bound, text)                                                      \
    [PM__OP_##NAME] = {.name = #word, .what = text, .matrix = input, .nmse = bound},
#include "ops.def"
#undef PM_OP
};

const pm__op_info *pm__op_get(pm__op op) {
    return &ops[op];
}

const char *pm__unary_name(pm__unary_kind kind) {
    static const char *const names[] = {
#define PM_UNARY(NAME, name, what) #name,
#include "functions.def"
#undef PM_UNARY
    };
    return names[kind];
}

const char *pm__glu_name(pm__glu_kind kind) {
    static const char *const names[] = {
#define PM_GLU(NAME, name, what) #name,
#include "functions.def"
#undef PM_GLU
    };
    return names[kind];
}

bool pm__cache_type(uint32_t i, pm__type *out) {
    static const pm__type types[] = {PM__TYPE_F32, PM__TYPE_F16, PM__TYPE_Q8_0, PM__TYPE_Q4_0};
    if (i >= PM__COUNT(types))
        return false;
    *out = types[i];
    return true;
}

/* ADVANCE reads the rows to know sequence and position, and rewrites them; of history and ring it
 * writes single elements. */
static void advance_access(const pm__node *node, pm__access *out) {
    out->reads[out->n_read++] = node->in[0];
    out->reads[out->n_read++] = node->in[1];
    for (uint32_t i = 1; i <= 3; i++)
        out->writes[out->n_write++] = node->in[i];
}

/* Whether an input is one that is only written. */
static bool is_output(const pm__node *node, uint32_t i) {
    return node->op == PM__OP_PREPARE && node->in[i]->kind == PM__CACHE;
}

void pm__node_access(const pm__node *node, pm__access *out) {
    memset(out, 0, sizeof *out);
    if (node->op == PM__OP_ADVANCE) {
        advance_access(node, out);
        return;
    }
    for (uint32_t i = 0; i < PM__MOST_INPUTS; i++) {
        if (node->in[i] == NULL)
            continue;
        if (is_output(node, i)) {
            out->writes[out->n_write++] = node->in[i];
            continue;
        }
        out->reads[out->n_read++] = node->in[i];
        if (node->in[i]->kind == PM__STATE)
            out->writes[out->n_write++] = node->in[i];
    }
    out->writes[out->n_write++] = node->out;
}

static uint64_t row_bytes(const pm__tensor *t) {
    uint64_t bytes = 0;
    pm__type_row_bytes(t->type, t->n_col, &bytes);
    return bytes;
}

static uint64_t row_count(const pm__tensor *t, uint32_t n_row, uint32_t n_out) {
    return t->rows == PM__ROWS_FIXED ? t->n_row : t->rows == PM__ROWS_BATCH ? n_row : n_out;
}

/* All of a weight or an activation once; what the session keeps is counted by operation. */
static uint64_t whole_bytes(const pm__tensor *t, uint32_t n_row, uint32_t n_out) {
    if (t == NULL || (t->kind != PM__WEIGHT && t->kind != PM__ACTIVATION))
        return 0;
    return row_count(t, n_row, n_out) * row_bytes(t);
}

static uint64_t cache_bytes(const pm__tensor *t) {
    return pm__type_packed_bytes(t->type, t->n_col);
}

/* Rows of one sequence share one pass over the part of its caches that they see. */
static void add_attention(pm__cost *cost, const pm__node *node, uint64_t rows, uint64_t n_ctx) {
    const uint64_t window = node->params.attention.window;
    const uint64_t n_seen = window != 0 && window < n_ctx ? window : n_ctx;
    const uint64_t n_k = node->params.attention.head_dim, n_v = node->params.attention.head_dim_v;
    cost->bytes += n_seen * cache_bytes(node->in[1]);
    if (node->in[2] != node->in[1])
        cost->bytes += n_seen * cache_bytes(node->in[2]);
    cost->flops = 2 * rows * node->params.attention.n_head * (n_k + n_v) * n_seen;
}

/* One sequence reads and writes its state once; `flops` a value of it and a row. */
static void add_state(pm__cost *cost, const pm__tensor *state, uint64_t rows, uint64_t flops) {
    cost->bytes += 2 * row_bytes(state);
    cost->flops = rows * state->n_col * flops;
}

/* Of the matrices only those of experts that a row can have chosen. */
static void add_experts(pm__cost *cost, const pm__node *node, uint64_t rows) {
    const pm__tensor *w = node->in[1];
    const uint64_t n_expert = node->params.experts.n_expert;
    const uint64_t n_read = rows * node->params.experts.n_slot;
    if (n_read < n_expert)
        cost->bytes -= (n_expert - n_read) * (w->n_row / n_expert) * row_bytes(w);
    cost->flops = 2 * rows * node->out->n_col * w->n_col;
}

pm__cost pm__node_cost(const pm__node *node, uint32_t n_row, uint32_t n_out, uint32_t n_ctx) {
    const uint64_t rows = row_count(node->out, n_row, n_out);
    const uint64_t elements = rows * node->out->n_col;
    pm__cost cost = {.bytes = whole_bytes(node->out, n_row, n_out)};
    for (uint32_t i = 0; i < PM__MOST_INPUTS; i++)
        cost.bytes += whole_bytes(node->in[i], n_row, n_out);
    switch (node->op) {
    case PM__OP_EMBED: /* only the rows of its tokens */
        cost.bytes = n_row * row_bytes(node->in[0]) + whole_bytes(node->out, n_row, n_out);
        break;
    case PM__OP_RMSNORM:
    case PM__OP_L2NORM:
        cost.flops = 4 * elements;
        break;
    case PM__OP_LAYERNORM:
        cost.flops = 7 * elements;
        break;
    case PM__OP_MATMUL:
        cost.flops = 2 * rows * node->in[1]->n_row * node->in[1]->n_col;
        if (node->params.matmul.normed)
            cost.flops += 4 * rows * node->in[0]->n_col;
        if (node->params.matmul.gated)
            cost.flops += 5 * elements;
        break;
    case PM__OP_QUANTIZE:
        cost.flops = 4 * rows * node->in[0]->n_col;
        break;
    case PM__OP_ROPE:
        cost.flops = 3 * elements;
        break;
    case PM__OP_KV_STORE:
        cost.bytes += n_row * cache_bytes(node->out);
        break;
    case PM__OP_PREPARE:
        cost.bytes += n_row * (cache_bytes(node->in[6]) + cache_bytes(node->in[7]));
        cost.flops = 3 * elements;
        break;
    case PM__OP_ATTENTION:
    case PM__OP_ATTENTION_SPLIT:
        add_attention(&cost, node, rows, n_ctx);
        break;
    case PM__OP_GLU:
    case PM__OP_UNARY:
        cost.flops = 5 * elements;
        break;
    case PM__OP_ADD:
    case PM__OP_MUL:
    case PM__OP_TEMPER:
        cost.flops = elements;
        break;
    case PM__OP_SLICE: /* only what it copies */
    case PM__OP_SELECT:
        cost.bytes = 2 * whole_bytes(node->out, n_row, n_out);
        break;
    case PM__OP_CONV:
        add_state(&cost, node->in[3], rows, 2);
        break;
    case PM__OP_SSM_SCAN:
        add_state(&cost, node->in[5], rows, 7);
        break;
    case PM__OP_SSM2_SCAN:
        add_state(&cost, node->in[4], rows, 5);
        break;
    case PM__OP_DELTA_NET:
    case PM__OP_WKV7:
        add_state(&cost, node->in[5], rows, 8);
        break;
    case PM__OP_SHIFT:
        add_state(&cost, node->in[1], rows, 0);
        break;
    case PM__OP_WKV7_BONUS:
    case PM__OP_LERP:
        cost.flops = 5 * elements;
        break;
    case PM__OP_ROUTE:
        cost.flops = rows * node->in[0]->n_col * (8 + node->in[0]->n_col);
        break;
    case PM__OP_EXPERTS_MATMUL:
        add_experts(&cost, node, rows);
        break;
    case PM__OP_MIX:
        cost.flops = 2 * rows * node->in[0]->n_col;
        break;
    case PM__OP_MERGE:
        cost.flops = 2 * rows * node->in[0]->n_col;
        break;
    case PM__OP_SPREAD:
        cost.flops = elements;
        break;
    case PM__OP_GROUP:
    case PM__OP_CONCAT:
    case PM__OP_SAMPLE:
    case PM__OP_ADVANCE:
    case PM__OP_COUNT:
        break;
    }
    return cost;
}
