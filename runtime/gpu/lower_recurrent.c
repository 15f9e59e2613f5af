/* lower_recurrent.c: operations that carry something from row to row. */
#include "../base/checked.h"
#include "draft.h"

/* Invocations that share a column of a state, each with `each` of its n values: a power of two. */
static uint32_t lanes_of(uint32_t n, uint32_t each) {
    uint32_t n_lane = 1;
    while (n_lane * each < n)
        n_lane *= 2;
    return n_lane;
}

/* A workgroup walks through all rows of a run, with so many turns of its loops a row. */
static pm_status walk_runs(pm__draft *d, uint32_t turns) {
    const uint32_t most = d->in->gpu->caps.most_turns, n_row = d->in->n_row;
    d->grid.count = PM__GRID_RUNS;
    if (most == UINT32_MAX || (uint64_t)n_row * turns + d->in->limits->n_seq <= most)
        return PM_OK;
    return pm__fail(PM_UNSUPPORTED,
                    "lower: node '%s': steps of %u rows: %s ends the loops of a kernel after %u "
                    "turns, and each row takes %u; use a smaller -b, a newer driver or another "
                    "--device",
                    d->node->name, n_row, d->in->gpu->info.driver, most, turns);
}

/* Words from one row of a weight to the next. */
static uint32_t stride_of(const pm__tensor *w) {
    return pm__type_quant_words(w->type, w->n_col);
}

pm_status pm__lower_conv(pm__draft *d) {
    const pm__node *node = d->node;
    pm__bind(d, node->in[0], PM__READ);
    pm__bind(d, node->out, PM__WRITE);
    pm__bind(d, node->in[1], PM__READ);
    pm__bind_option(d, node->in[2], "HAS_BIAS");
    pm__bind(d, node->in[3], PM__READ | PM__WRITE);
    pm__bind(d, node->in[4], PM__READ);
    pm__spec(d, node->out->n_col);
    pm__spec(d, node->in[1]->n_col);
    pm__spec(d, stride_of(node->in[1]));
    pm__spec(d, node->params.conv.silu);
    d->n_item = node->out->n_col;
    return PM_OK;
}

/* What both state spaces have in common; in[0], dt, the state, rows, and where a and d are. */
static pm_status fill_scan(pm__draft *d, const pm__tensor *bc, int a, int rows) {
    const pm__node *node = d->node;
    const uint32_t n_lane = lanes_of(node->params.scan.n_state, 4);
    pm__bind(d, node->in[0], PM__READ);
    pm__bind(d, node->out, PM__WRITE);
    pm__bind(d, node->in[1], PM__READ);
    if (bc != NULL)
        pm__bind(d, bc, PM__READ);
    else
        pm__bind_region(d, d->dispatch.bindings[0], PM__UNUSED);
    pm__bind(d, node->in[a], PM__READ);
    pm__bind(d, node->in[a + 1], PM__READ);
    pm__bind(d, node->in[a + 2], PM__READ | PM__WRITE);
    pm__bind(d, node->in[rows], PM__READ);
    pm__spec(d, node->out->n_col);
    pm__spec(d, node->params.scan.n_state);
    pm__spec(d, n_lane);
    pm__spec(d, stride_of(node->in[a]));
    pm__spec(d, bc != NULL ? 1 : node->params.scan.n_head);
    pm__spec(d, bc != NULL ? 1 : node->params.scan.n_group);
    d->n_item = pm__ceil_div(node->out->n_col, d->kernel->workgroup / n_lane);
    return walk_runs(d, 5); /* with its share of the sums over lanes */
}

pm_status pm__lower_ssm_scan(pm__draft *d) {
    return fill_scan(d, d->node->in[2], 3, 6);
}

pm_status pm__lower_ssm2_scan(pm__draft *d) {
    pm__define(d, "HEADS");
    return fill_scan(d, NULL, 2, 5);
}

pm_status pm__lower_delta_net(pm__draft *d) {
    const pm__node *node = d->node;
    const uint32_t n_lane = lanes_of(node->params.delta_net.head_dim, 8);
    pm__bind(d, node->in[0], PM__READ);
    pm__bind(d, node->out, PM__WRITE);
    for (int i = 1; i < 5; i++)
        pm__bind(d, node->in[i], PM__READ);
    pm__bind(d, node->in[5], PM__READ | PM__WRITE);
    pm__bind(d, node->in[6], PM__READ);
    pm__spec(d, node->params.delta_net.head_dim);
    pm__spec(d, node->params.delta_net.n_head);
    pm__spec(d, node->params.delta_net.n_head_k);
    pm__spec(d, n_lane);
    pm__spec(d, node->params.delta_net.tiled);
    d->n_item = pm__ceil_div(node->out->n_col, d->kernel->workgroup / n_lane);
    return walk_runs(d, 1 + n_lane);
}

pm_status pm__lower_wkv7(pm__draft *d) {
    const pm__node *node = d->node;
    const uint32_t n_lane = lanes_of(node->params.wkv7.head_dim, 8);
    pm__bind(d, node->in[0], PM__READ);
    pm__bind(d, node->out, PM__WRITE);
    for (int i = 1; i < 5; i++)
        pm__bind(d, node->in[i], PM__READ);
    pm__bind(d, node->in[5], PM__READ | PM__WRITE);
    pm__bind(d, node->in[6], PM__READ);
    pm__spec(d, node->out->n_col);
    pm__spec(d, node->params.wkv7.head_dim);
    pm__spec(d, n_lane);
    d->n_item = pm__ceil_div(node->out->n_col, d->kernel->workgroup / n_lane);
    return walk_runs(d, 1 + n_lane);
}

pm_status pm__lower_wkv7_bonus(pm__draft *d) {
    const pm__node *node = d->node;
    pm__bind(d, node->in[0], PM__READ);
    pm__bind(d, node->out, PM__WRITE);
    for (int i = 1; i < 5; i++)
        pm__bind(d, node->in[i], PM__READ);
    pm__spec(d, node->out->n_col);
    pm__spec(d, node->params.wkv7.head_dim);
    d->n_item = node->out->n_col / node->params.wkv7.head_dim;
    return PM_OK;
}

pm_status pm__lower_shift(pm__draft *d) {
    pm__bind(d, d->node->in[0], PM__READ);
    pm__bind(d, d->node->out, PM__WRITE);
    pm__bind(d, d->node->in[1], PM__READ | PM__WRITE);
    pm__bind(d, d->node->in[2], PM__READ);
    pm__spec(d, d->node->out->n_col);
    d->n_item = d->node->out->n_col;
    return PM_OK;
}

pm_status pm__lower_lerp(pm__draft *d) {
    for (int i = 0; i < 3; i++)
        pm__bind(d, d->node->in[i], PM__READ);
    pm__bind(d, d->node->out, PM__WRITE);
    if (d->node->in[2]->kind != PM__WEIGHT)
        pm__define(d, "ROWS");
    pm__spec(d, d->node->out->n_col);
    d->n_item = d->node->out->n_col;
    return PM_OK;
}
