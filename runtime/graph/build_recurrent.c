/* build_recurrent.c: operations that carry something from token to token. */
#include "../base/checked.h"
#include "builder.h"

pm__t pm__state(pm__graph *g, const char *name, uint32_t n_col) {
    if (g->status != PM_OK)
        return NULL;
    if (n_col == 0) {
        pm__build_fail(g, name, "a state needs columns");
        return NULL;
    }
    const pm__tensor state = {
        .name = pm__build_name(g, name), .kind = PM__STATE, .type = PM__TYPE_F32, .n_col = n_col};
    return state.name != NULL ? pm__build_state(g, &state) : NULL;
}

static bool is_state(pm__graph *g, const char *name, pm__t state, uint64_t n_col) {
    if (state != NULL && state->kind == PM__STATE && state->n_col == n_col)
        return true;
    return pm__build_fail(g, name, "needed is a state of %llu values, '%s' has %u",
                          (unsigned long long)n_col, state != NULL ? state->name : "(none)",
                          state != NULL ? state->n_col : 0);
}

/* Batch rows of so many columns. */
static bool is_wide(pm__graph *g, const char *name, pm__t x, uint64_t n_col) {
    if (!pm__build_is_batch(g, name, x))
        return false;
    return x->n_col == n_col || pm__build_fail(g, name, "'%s' has %u columns, needed are %llu",
                                               x->name, x->n_col, (unsigned long long)n_col);
}

pm__t pm__conv(pm__graph *g, const char *name, pm__t x, pm__t w, pm__t bias, pm__t state,
               bool silu) {
    if (g->status != PM_OK || !pm__build_is_batch(g, name, x))
        return NULL;
    const uint32_t n_tap = w != NULL ? w->n_col : 0;
    if (n_tap < 2 || n_tap > PM__MOST_TAPS) {
        pm__build_fail(g, name, "%u taps, there can be 2 to %d", n_tap, PM__MOST_TAPS);
        return NULL;
    }
    if (!pm__build_is_weight(g, name, w, x->n_col, n_tap) ||
        (bias != NULL && !pm__build_is_weight(g, name, bias, 1, x->n_col)) ||
        !is_state(g, name, state, (n_tap - 1) * (uint64_t)x->n_col))
        return NULL;
    pm__node node = {.op = PM__OP_CONV,
                     .name = name,
                     .in = {x, w, bias, state, pm__build_step(g, PM__STEP_ROWS)}};
    node.params.conv.silu = silu;
    return pm__build_node(g, &node, x->rows, x->n_col);
}

/* ---- state spaces ---------------------------------------------------------------------------- */

static bool can_hold(pm__graph *g, const char *name, uint32_t n_state) {
    return (n_state > 0 && n_state <= PM__MOST_SSM_STATE) ||
           pm__build_fail(g, name, "%u values of a state a column, there can be 1 to %d", n_state,
                          PM__MOST_SSM_STATE);
}

pm__t pm__ssm_scan(pm__graph *g, const char *name, pm__t x, pm__t dt, pm__t bc,
                   const pm__ssm_desc *desc) {
    const uint32_t n_state = desc->a != NULL ? desc->a->n_col : 0;
    if (g->status != PM_OK || !pm__build_is_batch(g, name, x) ||
        !pm__build_are_alike(g, name, x, dt) || !can_hold(g, name, n_state) ||
        !is_wide(g, name, bc, 2ull * n_state) ||
        !pm__build_is_weight(g, name, desc->a, x->n_col, n_state) ||
        !pm__build_is_weight(g, name, desc->d, 1, x->n_col) ||
        !is_state(g, name, desc->state, (uint64_t)x->n_col * n_state))
        return NULL;
    pm__node node = {
        .op = PM__OP_SSM_SCAN,
        .name = name,
        .in = {x, dt, bc, desc->a, desc->d, desc->state, pm__build_step(g, PM__STEP_ROWS)}};
    node.params.scan.n_state = n_state;
    return pm__build_node(g, &node, x->rows, x->n_col);
}

pm__t pm__ssm2_scan(pm__graph *g, const char *name, pm__t xbc, pm__t dt,
                    const pm__ssm2_desc *desc) {
    if (g->status != PM_OK || !pm__build_is_batch(g, name, xbc) ||
        !can_hold(g, name, desc->n_state))
        return NULL;
    const uint64_t n_bc = 2ull * desc->n_state * desc->n_group;
    const uint32_t n_col = n_bc < xbc->n_col ? xbc->n_col - (uint32_t)n_bc : 0;
    if (n_col == 0 || desc->n_head == 0 || n_col % desc->n_head != 0 || desc->n_group == 0 ||
        desc->n_head % desc->n_group != 0) {
        pm__build_fail(g, name, "%u columns for %u heads, and %u groups of 2 times %u values",
                       xbc->n_col, desc->n_head, desc->n_group, desc->n_state);
        return NULL;
    }
    if (!is_wide(g, name, dt, desc->n_head) ||
        !pm__build_is_weight(g, name, desc->a, 1, desc->n_head) ||
        !pm__build_is_weight(g, name, desc->d, 1, desc->n_head) ||
        !is_state(g, name, desc->state, (uint64_t)n_col * desc->n_state))
        return NULL;
    pm__node node = {
        .op = PM__OP_SSM2_SCAN,
        .name = name,
        .in = {xbc, dt, desc->a, desc->d, desc->state, pm__build_step(g, PM__STEP_ROWS)}};
    node.params.scan.n_state = desc->n_state;
    node.params.scan.n_head = desc->n_head;
    node.params.scan.n_group = desc->n_group;
    return pm__build_node(g, &node, xbc->rows, n_col);
}

/* ---- delta rules ----------------------------------------------------------------------------- */

pm__t pm__delta_net(pm__graph *g, const char *name, const pm__t inputs[4],
                    const pm__delta_net_desc *desc) {
    const pm__t qk = inputs[0], v = inputs[1], b = inputs[2], a = inputs[3];
    const uint64_t n_head = desc->n_head, n = desc->head_dim;
    if (g->status != PM_OK)
        return NULL;
    if (n_head == 0 || n_head > 1 << 16 || n == 0 || n > PM__MOST_DELTA_HEAD ||
        desc->n_head_k == 0 || desc->n_head % desc->n_head_k != 0) {
        pm__build_fail(g, name, "%u heads over %u of keys, of %u columns", desc->n_head,
                       desc->n_head_k, desc->head_dim);
        return NULL;
    }
    if (!is_wide(g, name, qk, 2 * n * desc->n_head_k) || !is_wide(g, name, v, n * n_head) ||
        !is_wide(g, name, b, n_head) || !is_wide(g, name, a, n_head) ||
        !pm__build_is_weight(g, name, desc->decay, 1, desc->n_head) ||
        !is_state(g, name, desc->state, n_head * n * n))
        return NULL;
    pm__node node = {
        .op = PM__OP_DELTA_NET,
        .name = name,
        .in = {qk, v, b, a, desc->decay, desc->state, pm__build_step(g, PM__STEP_ROWS)}};
    node.params.delta_net.n_head = desc->n_head;
    node.params.delta_net.n_head_k = desc->n_head_k;
    node.params.delta_net.head_dim = desc->head_dim;
    node.params.delta_net.tiled = desc->tiled;
    return pm__build_node(g, &node, v->rows, v->n_col);
}

static bool are_heads(pm__graph *g, const char *name, pm__t x, uint32_t head_dim) {
    if (!pm__build_is_batch(g, name, x))
        return false;
    return (head_dim > 0 && head_dim <= PM__MOST_DELTA_HEAD && x->n_col % head_dim == 0) ||
           pm__build_fail(g, name, "%u columns in heads of %u, which may have up to %d", x->n_col,
                          head_dim, PM__MOST_DELTA_HEAD);
}

pm__t pm__wkv7(pm__graph *g, const char *name, const pm__t inputs[5], uint32_t head_dim,
               pm__t state) {
    if (g->status != PM_OK || !are_heads(g, name, inputs[0], head_dim))
        return NULL;
    const pm__t r = inputs[0];
    for (int i = 1; i < 4; i++)
        if (!pm__build_are_alike(g, name, r, inputs[i]))
            return NULL;
    if (!is_wide(g, name, inputs[4], 2ull * r->n_col) ||
        !is_state(g, name, state, (uint64_t)r->n_col * head_dim))
        return NULL;
    pm__node node = {.op = PM__OP_WKV7,
                     .name = name,
                     .in = {r, inputs[1], inputs[2], inputs[3], inputs[4], state,
                            pm__build_step(g, PM__STEP_ROWS)}};
    node.params.wkv7.head_dim = head_dim;
    return pm__build_node(g, &node, r->rows, r->n_col);
}

pm__t pm__wkv7_bonus(pm__graph *g, const char *name, const pm__t inputs[4], pm__t w,
                     uint32_t head_dim) {
    if (g->status != PM_OK || !are_heads(g, name, inputs[0], head_dim) ||
        !pm__build_is_weight(g, name, w, 1, inputs[0]->n_col))
        return NULL;
    for (int i = 1; i < 4; i++)
        if (!pm__build_are_alike(g, name, inputs[0], inputs[i]))
            return NULL;
    pm__node node = {.op = PM__OP_WKV7_BONUS,
                     .name = name,
                     .in = {inputs[0], inputs[1], inputs[2], inputs[3], w}};
    node.params.wkv7.head_dim = head_dim;
    return pm__build_node(g, &node, inputs[0]->rows, inputs[0]->n_col);
}

/* ---- the row before -------------------------------------------------------------------------- */

pm__t pm__shift(pm__graph *g, const char *name, pm__t x, pm__t state) {
    if (g->status != PM_OK || !pm__build_is_batch(g, name, x) ||
        !is_state(g, name, state, x->n_col))
        return NULL;
    pm__node node = {
        .op = PM__OP_SHIFT, .name = name, .in = {x, state, pm__build_step(g, PM__STEP_ROWS)}};
    return pm__build_node(g, &node, x->rows, x->n_col);
}

pm__t pm__lerp(pm__graph *g, const char *name, pm__t a, pm__t b, pm__t w) {
    if (g->status != PM_OK || !pm__build_are_alike(g, name, a, b))
        return NULL;
    if (w != NULL && w->kind == PM__WEIGHT ? !pm__build_is_weight(g, name, w, 1, a->n_col)
                                           : !pm__build_are_alike(g, name, a, w))
        return NULL;
    pm__node node = {.op = PM__OP_LERP, .name = name, .in = {a, b, w}};
    return pm__build_node(g, &node, a->rows, a->n_col);
}
