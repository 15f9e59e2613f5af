/* build_norm.c: norms, whole rows or head by head. */
#include "builder.h"

/* A vector for all columns or for the columns of one head; NULL: none. */
static bool is_vector(pm__graph *g, const char *name, pm__t x, pm__t w, uint32_t head_dim) {
    return w == NULL || w->n_col == head_dim
               ? w == NULL || pm__build_is_weight(g, name, w, 1, head_dim)
               : pm__build_is_weight(g, name, w, 1, x->n_col);
}

static pm__t norm(pm__graph *g, const pm__node *like, uint32_t head_dim, float eps) {
    pm__node node = *like;
    pm__t x = node.in[0];
    if (head_dim == 0 || x->n_col % head_dim != 0) {
        pm__build_fail(g, node.name, "heads of %u columns do not cut the %u of '%s'", head_dim,
                       x->n_col, x->name);
        return NULL;
    }
    if (!is_vector(g, node.name, x, node.in[1], head_dim) ||
        !is_vector(g, node.name, x, node.in[2], head_dim))
        return NULL;
    if (node.in[2] != NULL && (node.in[1] == NULL || node.in[1]->n_col != node.in[2]->n_col)) {
        pm__build_fail(g, node.name, "the bias '%s' needs a weight of %u columns too",
                       node.in[2]->name, node.in[2]->n_col);
        return NULL;
    }
    node.params.norm.head_dim = head_dim;
    node.params.norm.eps = eps;
    return pm__build_node(g, &node, x->rows, x->n_col);
}

static bool is_open(pm__graph *g, const char *name, pm__t x) {
    return g->status == PM_OK && pm__build_is_activation(g, name, "x", x);
}

pm__t pm__rmsnorm_heads(pm__graph *g, const char *name, pm__t x, pm__t weight, uint32_t head_dim,
                        float eps) {
    const pm__node node = {.op = PM__OP_RMSNORM, .name = name, .in = {x, weight}};
    return is_open(g, name, x) ? norm(g, &node, head_dim, eps) : NULL;
}

pm__t pm__rmsnorm(pm__graph *g, const char *name, pm__t x, pm__t weight, float eps) {
    return is_open(g, name, x) ? pm__rmsnorm_heads(g, name, x, weight, x->n_col, eps) : NULL;
}

pm__t pm__layernorm_heads(pm__graph *g, const char *name, pm__t x, pm__t weight, pm__t bias,
                          uint32_t head_dim, float eps) {
    const pm__node node = {.op = PM__OP_LAYERNORM, .name = name, .in = {x, weight, bias}};
    return is_open(g, name, x) ? norm(g, &node, head_dim, eps) : NULL;
}

pm__t pm__layernorm(pm__graph *g, const char *name, pm__t x, pm__t weight, pm__t bias, float eps) {
    return is_open(g, name, x) ? pm__layernorm_heads(g, name, x, weight, bias, x->n_col, eps)
                               : NULL;
}

pm__t pm__l2norm(pm__graph *g, const char *name, pm__t x, uint32_t head_dim, float eps) {
    const pm__node node = {.op = PM__OP_L2NORM, .name = name, .in = {x}};
    return is_open(g, name, x) ? norm(g, &node, head_dim, eps) : NULL;
}
