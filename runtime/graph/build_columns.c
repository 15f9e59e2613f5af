/* build_columns.c: what is done column by column, and with columns. */
#include "builder.h"

static pm__t unary(pm__graph *g, const char *name, pm__t x, const pm__op_params *params) {
    if (g->status != PM_OK || !pm__build_is_activation(g, name, "x", x))
        return NULL;
    pm__node node = {.op = PM__OP_UNARY, .name = name, .in = {x}, .params = *params};
    return pm__build_node(g, &node, x->rows, x->n_col);
}

pm__t pm__unary(pm__graph *g, const char *name, pm__unary_kind kind, pm__t x) {
    const pm__op_params params = {.unary = {.kind = kind}};
    if (g->status == PM_OK && kind >= PM__SCALE) {
        pm__build_fail(g, name, "%s has parameters and a call of its own", pm__unary_name(kind));
        return NULL;
    }
    return unary(g, name, x, &params);
}

pm__t pm__scale(pm__graph *g, const char *name, pm__t x, float factor) {
    return unary(g, name, x, &(pm__op_params){.unary = {.kind = PM__SCALE, .a = factor}});
}

pm__t pm__softcap(pm__graph *g, const char *name, pm__t x, float cap) {
    if (g->status == PM_OK && !(cap > 0)) {
        pm__build_fail(g, name, "a soft cap of %g", (double)cap);
        return NULL;
    }
    return unary(g, name, x, &(pm__op_params){.unary = {.kind = PM__SOFTCAP, .a = cap}});
}

pm__t pm__clamp(pm__graph *g, const char *name, pm__t x, float low, float high) {
    if (g->status == PM_OK && !(low <= high)) {
        pm__build_fail(g, name, "limits of %g and %g", (double)low, (double)high);
        return NULL;
    }
    return unary(g, name, x, &(pm__op_params){.unary = {.kind = PM__CLAMP, .a = low, .b = high}});
}

pm__t pm__glu(pm__graph *g, const char *name, pm__glu_kind kind, pm__t gate, pm__t up) {
    if (g->status != PM_OK || !pm__build_are_alike(g, name, gate, up))
        return NULL;
    pm__node node = {.op = PM__OP_GLU, .name = name, .in = {gate, up}};
    node.params.glu.kind = kind;
    return pm__build_node(g, &node, gate->rows, gate->n_col);
}

static bool spreads(pm__graph *g, const char *name, pm__t a, pm__t b) {
    if (b != NULL && b->kind == PM__WEIGHT)
        return pm__build_is_weight(g, name, b, 1, b->n_col == 1 ? 1 : a->n_col);
    if (b != NULL && b->kind == PM__ACTIVATION && b->n_col == 1 && b->rows == a->rows)
        return true;
    return pm__build_are_alike(g, name, a, b);
}

static pm__t binary(pm__graph *g, pm__op op, const char *name, pm__t a, pm__t b) {
    if (g->status != PM_OK || !pm__build_is_activation(g, name, "an operand", a) ||
        !spreads(g, name, a, b))
        return NULL;
    pm__node node = {.op = op, .name = name, .in = {a, b}};
    return pm__build_node(g, &node, a->rows, a->n_col);
}

pm__t pm__add(pm__graph *g, const char *name, pm__t a, pm__t b) {
    return binary(g, PM__OP_ADD, name, a, b);
}

pm__t pm__mul(pm__graph *g, const char *name, pm__t a, pm__t b) {
    return binary(g, PM__OP_MUL, name, a, b);
}

pm__t pm__temper(pm__graph *g, const char *name, pm__t x, const pm__temper_desc *desc) {
    if (g->status != PM_OK || !pm__build_is_batch(g, name, x))
        return NULL;
    if (desc->original == 0) {
        pm__build_fail(g, name, "an original context of no positions");
        return NULL;
    }
    pm__node node = {
        .op = PM__OP_TEMPER, .name = name, .in = {x, pm__build_step(g, PM__STEP_ROWS)}};
    node.params.temper.scale = desc->scale;
    node.params.temper.original = desc->original;
    node.params.temper.ahead = desc->ahead;
    return pm__build_node(g, &node, x->rows, x->n_col);
}

pm__t pm__slice(pm__graph *g, const char *name, pm__t x, const pm__slice_desc *desc) {
    if (g->status != PM_OK || !pm__build_is_activation(g, name, "x", x) ||
        !pm__build_is_cut(g, name, x, desc->n_group, desc->stride))
        return NULL;
    if (desc->n == 0 || desc->n > desc->stride || desc->first > desc->stride - desc->n) {
        pm__build_fail(g, name, "columns %u + %u of groups of %u", desc->first, desc->n,
                       desc->stride);
        return NULL;
    }
    pm__node node = {.op = PM__OP_SLICE, .name = name, .in = {x}};
    node.params.slice.n_group = desc->n_group;
    node.params.slice.stride = desc->stride;
    node.params.slice.first = desc->first;
    node.params.slice.n = desc->n;
    return pm__build_node(g, &node, x->rows, desc->n_group * desc->n);
}

static pm__t concat(pm__graph *g, const char *name, pm__t a, pm__t b, uint32_t n_group,
                    uint32_t n_group_b) {
    if (g->status != PM_OK || !pm__build_is_activation(g, name, "a", a) ||
        !pm__build_is_activation(g, name, "b", b))
        return NULL;
    const uint64_t n_b = n_group_b != 0 ? b->n_col / n_group_b : 0;
    if (n_group == 0 || a->rows != b->rows || a->n_col % n_group != 0 ||
        b->n_col % n_group_b != 0 || n_b * n_group > UINT32_MAX - a->n_col) {
        pm__build_fail(g, name, "'%s' of %u columns and '%s' of %u, in %u groups", a->name,
                       a->n_col, b->name, b->n_col, n_group);
        return NULL;
    }
    pm__node node = {.op = PM__OP_CONCAT, .name = name, .in = {a, b}};
    node.params.concat.n_group = n_group;
    node.params.concat.n_a = a->n_col / n_group;
    node.params.concat.n_b = (uint32_t)n_b;
    node.params.concat.b_stride = n_group_b == 1 ? 0 : (uint32_t)n_b;
    return pm__build_node(g, &node, a->rows, a->n_col + n_group * (uint32_t)n_b);
}

pm__t pm__concat(pm__graph *g, const char *name, pm__t a, pm__t b, uint32_t n_group) {
    return concat(g, name, a, b, n_group, n_group);
}

pm__t pm__concat_one(pm__graph *g, const char *name, pm__t a, pm__t b, uint32_t n_group) {
    return concat(g, name, a, b, n_group, 1);
}
