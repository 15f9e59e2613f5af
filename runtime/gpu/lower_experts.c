/* lower_experts.c: mixtures of experts. */
#include "lower_coop.h"

pm_status pm__lower_route(pm__draft *d) {
    const pm__node *node = d->node;
    const struct pm_push_route words = {node->params.route.scale};
    pm__bind(d, node->in[0], PM__READ);
    pm__bind(d, node->out, PM__WRITE);
    pm__bind_option(d, node->in[1], "HAS_BIAS");
    pm__bind_option(d, node->in[2], "HAS_SCALE");
    pm__spec(d, node->in[0]->n_col);
    pm__spec(d, node->params.route.n_used);
    pm__spec(d, node->params.route.gating);
    pm__spec(d, node->params.route.renorm);
    pm__spec(d, node->params.route.n_group);
    pm__spec(d, node->params.route.n_group_used);
    pm__push(d, &words, sizeof words);
    return PM_OK;
}

/* Places are kept as floats. */
pm_status pm__lower_group(pm__draft *d) {
    const pm__node *node = d->node;
    const uint32_t n_used = node->in[0]->n_col / 2;
    if (d->in->limits->n_batch > (1u << 24) / n_used)
        return pm__fail(PM_UNSUPPORTED,
                        "lower: node '%s': %u rows of %u experts: the kernel takes fewer than "
                        "16777216 together; try a smaller -b",
                        node->name, d->in->limits->n_batch, n_used);
    pm__bind(d, node->in[0], PM__READ);
    pm__bind(d, node->out, PM__WRITE);
    pm__bind(d, node->in[1], PM__READ);
    pm__spec(d, node->out->n_col);
    pm__spec(d, n_used);
    d->n_item = node->out->n_col;
    d->grid.one = true;
    return PM_OK;
}

pm_status pm__lower_experts_matmul(pm__draft *d) {
    const pm__node *node = d->node;
    const pm__tensor *w = node->in[1];
    const uint32_t n_expert = node->params.experts.n_expert, n_slot = node->params.experts.n_slot;
    const uint32_t n_out = w->n_row / n_expert;
    const bool tiled = d->kernel->group_rows > 1; /* rows of an expert together */
    if (d->kernel->tier >= PM__TIER_COOP)
        return pm__lower_experts_coop(d);
    pm__bind(d, node->in[0], PM__READ);
    pm__bind(d, node->out, PM__WRITE);
    pm__bind_matrix(d, w);
    pm__bind_option(d, node->in[2], "HAS_BIAS");
    pm__bind_option(d, node->in[5], "HAS_SCALE");
    pm__bind_option(d, node->in[tiled ? 4 : 3], "HAS_ROUTE");
    pm__bind_region(d, d->in->places->step[PM__STEP_ROWS], PM__READ);
    pm__spec(d, w->n_col);
    pm__spec(d, n_out);
    pm__spec_planes(d, w);
    pm__spec(d, n_expert);
    pm__spec(d, n_slot);
    pm__spec(d, node->in[0]->n_col == w->n_col ? 1 : n_slot);
    pm__spec_at_once(d);
    pm__push_part(d, PM__ROWS_BATCH);
    d->n_item = n_out;
    d->n_layer = tiled ? n_expert : n_slot;
    if (!tiled && d->kernel->group_items < 8) /* which a workgroup makes together */
        pm__narrow(d, pm__type_chunks(w->type, w->n_col));
    return PM_OK;
}

pm_status pm__lower_mix(pm__draft *d) {
    const pm__node *node = d->node;
    pm__bind(d, node->in[0], PM__READ);
    pm__bind(d, node->out, PM__WRITE);
    pm__bind_option(d, node->in[1], "HAS_ROUTE");
    pm__bind_option(d, node->in[2], "HAS_RESIDUAL");
    pm__spec(d, node->out->n_col);
    pm__spec(d, node->in[0]->n_col / node->out->n_col);
    d->n_item = node->out->n_col;
    return PM_OK;
}

pm_status pm__lower_spread(pm__draft *d) {
    const pm__node *node = d->node;
    pm__bind(d, node->in[0], PM__READ);
    pm__bind(d, node->out, PM__WRITE);
    pm__bind(d, node->in[1], PM__READ);
    pm__spec(d, node->in[0]->n_col);
    pm__spec(d, node->in[1]->n_col / 2);
    d->n_item = node->in[0]->n_col;
    return PM_OK;
}
