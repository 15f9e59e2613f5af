/* build_experts.c: mixtures of experts. */
#include "builder.h"

/* [rows, 2 * n_used] of pm__route, with rows as x has them. */
static bool is_route(pm__graph *g, const char *name, pm__t route, pm__t x) {
    if (!pm__build_is_activation(g, name, "the route", route))
        return false;
    if (route->rows == x->rows && route->n_col % 2 == 0 && route->n_col > 0 &&
        route->n_col <= 2 * PM__MOST_USED)
        return true;
    return pm__build_fail(g, name, "'%s' of %u columns is no route for '%s'", route->name,
                          route->n_col, x->name);
}

static bool is_route_desc(pm__graph *g, const char *name, uint32_t n_expert,
                          const pm__route_desc *d) {
    if (n_expert > PM__MOST_EXPERTS || d->n_used == 0 || d->n_used > PM__MOST_USED ||
        d->n_used > n_expert)
        return pm__build_fail(g, name, "%u of %u experts cannot be chosen (at most %d of %d)",
                              d->n_used, n_expert, PM__MOST_USED, PM__MOST_EXPERTS);
    if (d->n_group > 1 &&
        (n_expert % d->n_group != 0 || d->n_group_used == 0 || d->n_group_used > d->n_group ||
         (uint64_t)d->n_group_used * (n_expert / d->n_group) < d->n_used))
        return pm__build_fail(g, name,
                              "%u of %u groups of %u experts do not have the %u to be chosen",
                              d->n_group_used, d->n_group, n_expert, d->n_used);
    return true;
}

pm__t pm__route(pm__graph *g, const char *name, pm__t logits, pm__t select_bias,
                pm__t scale_per_expert, const pm__route_desc *desc) {
    if (g->status != PM_OK || !pm__build_is_activation(g, name, "x", logits) ||
        !is_route_desc(g, name, logits->n_col, desc))
        return NULL;
    const uint32_t n = logits->n_col;
    if ((select_bias != NULL && !pm__build_is_weight(g, name, select_bias, 1, n)) ||
        (scale_per_expert != NULL && !pm__build_is_weight(g, name, scale_per_expert, 1, n)))
        return NULL;
    pm__node node = {
        .op = PM__OP_ROUTE, .name = name, .in = {logits, select_bias, scale_per_expert}};
    node.params.route.n_used = desc->n_used;
    node.params.route.gating = desc->gating;
    node.params.route.renorm = desc->renorm;
    node.params.route.scale = desc->scale != 0 ? desc->scale : 1;
    node.params.route.n_group = desc->n_group > 1 ? desc->n_group : 1;
    node.params.route.n_group_used = desc->n_group > 1 ? desc->n_group_used : 1;
    return pm__build_node(g, &node, logits->rows, 2 * desc->n_used);
}

/* The rows of each expert, worked out once a route. */
static pm__t groups_of(pm__graph *g, pm__t route, uint32_t n_expert) {
    for (uint32_t i = g->n_node; i-- > 0;)
        if (g->nodes[i].op == PM__OP_GROUP && g->nodes[i].in[0] == route &&
            g->nodes[i].out->n_col == n_expert)
            return g->nodes[i].out;
    pm__node node = {
        .op = PM__OP_GROUP, .name = "group", .in = {route, pm__build_step(g, PM__STEP_ROWS)}};
    return pm__build_node(g, &node, PM__ROWS_BATCH, n_expert);
}

/* n_slot  matrices that each row is multiplied with */
static bool can_multiply(pm__graph *g, const pm__node *node, uint32_t n_expert, uint32_t n_slot) {
    const pm__tensor *x = node->in[0], *w = node->in[1];
    if (w == NULL || w->kind != PM__WEIGHT || n_expert == 0 || n_expert > PM__MOST_EXPERTS ||
        w->n_row % n_expert != 0)
        return pm__build_fail(g, node->name, "'%s' has no matrices for %u experts",
                              w != NULL ? w->name : "(none)", n_expert);
    if (x->n_col != w->n_col && (uint64_t)n_slot * w->n_col != x->n_col)
        return pm__build_fail(g, node->name,
                              "'%s' has %u columns, '%s' takes %u, or %u for each of %u", x->name,
                              x->n_col, w->name, w->n_col, w->n_col, n_slot);
    return (uint64_t)n_slot * (w->n_row / n_expert) <= UINT32_MAX ||
           pm__build_fail(g, node->name, "%u results of %u columns", n_slot, w->n_row / n_expert);
}

static pm__t experts_matmul(pm__graph *g, pm__node *node, uint32_t n_expert, uint32_t n_slot) {
    if (!can_multiply(g, node, n_expert, n_slot))
        return NULL;
    const pm__tensor *w = node->in[1], *bias = node->in[2];
    const uint32_t n_out = w->n_row / n_expert;
    if ((bias != NULL && !pm__build_is_weight(g, node->name, bias, 1, w->n_row)) ||
        (w->scale != NULL && !pm__build_is_weight(g, node->name, w->scale, 1, n_expert)))
        return NULL;
    node->in[5] = w->scale;
    if (node->in[3] != NULL)
        node->in[4] = groups_of(g, node->in[3], n_expert);
    node->params.experts.n_expert = n_expert;
    node->params.experts.n_slot = n_slot;
    return pm__build_node(g, node, PM__ROWS_BATCH, n_slot * n_out);
}

pm__t pm__experts_matmul(pm__graph *g, const char *name, pm__t x, pm__t w, pm__t bias, pm__t route,
                         uint32_t n_expert) {
    if (g->status != PM_OK || !pm__build_is_batch(g, name, x) || !is_route(g, name, route, x))
        return NULL;
    pm__node node = {.op = PM__OP_EXPERTS_MATMUL, .name = name, .in = {x, w, bias, route}};
    return experts_matmul(g, &node, n_expert, route->n_col / 2);
}

pm__t pm__heads_matmul(pm__graph *g, const char *name, pm__t x, pm__t w, uint32_t n_head) {
    if (g->status != PM_OK || !pm__build_is_batch(g, name, x))
        return NULL;
    pm__node node = {.op = PM__OP_EXPERTS_MATMUL, .name = name, .in = {x, w}};
    return experts_matmul(g, &node, n_head, n_head);
}

/* x [rows, n_used * n_col] -> [rows, n_col] */
static pm__t mix(pm__graph *g, pm__node *node, uint32_t n_used, pm__t residual) {
    const pm__tensor *x = node->in[0];
    if (n_used == 0 || x->n_col % n_used != 0) {
        pm__build_fail(g, node->name, "%u columns of '%s' are not those of %u experts", x->n_col,
                       x->name, n_used);
        return NULL;
    }
    const pm__tensor like = {
        .name = node->name, .kind = PM__ACTIVATION, .rows = x->rows, .n_col = x->n_col / n_used};
    if (residual != NULL && !pm__build_are_alike(g, node->name, &like, residual))
        return NULL;
    node->in[2] = residual;
    return pm__build_node(g, node, x->rows, like.n_col);
}

pm__t pm__mix(pm__graph *g, const char *name, pm__t x, pm__t route, pm__t residual) {
    if (g->status != PM_OK || !pm__build_is_activation(g, name, "x", x) ||
        !is_route(g, name, route, x))
        return NULL;
    pm__node node = {.op = PM__OP_MIX, .name = name, .in = {x, route}};
    return mix(g, &node, route->n_col / 2, residual);
}

pm__t pm__mix_sum(pm__graph *g, const char *name, pm__t x, uint32_t n_used, pm__t residual) {
    if (g->status != PM_OK || !pm__build_is_activation(g, name, "x", x))
        return NULL;
    pm__node node = {.op = PM__OP_MIX, .name = name, .in = {x}};
    return mix(g, &node, n_used, residual);
}

pm__t pm__spread(pm__graph *g, const char *name, pm__t x, pm__t route) {
    if (g->status != PM_OK || !pm__build_is_activation(g, name, "x", x) ||
        !is_route(g, name, route, x))
        return NULL;
    const uint64_t n_col = (uint64_t)route->n_col / 2 * x->n_col;
    if (n_col > UINT32_MAX) {
        pm__build_fail(g, name, "%u columns for each of %u experts", x->n_col, route->n_col / 2);
        return NULL;
    }
    pm__node node = {.op = PM__OP_SPREAD, .name = name, .in = {x, route}};
    return pm__build_node(g, &node, x->rows, (uint32_t)n_col);
}
