/* lower_dense.c: tokens, matrices, norms and what is done column by column. */
#include "lower_coop.h"

#include "../base/checked.h"
#include "../graph/blocks.h"
#include "tuning.h"

#include <stdio.h>

pm_status pm__lower_embed(pm__draft *d) {
    const pm__node *node = d->node;
    pm__bind(d, node->in[1], PM__READ);
    pm__bind(d, node->out, PM__WRITE);
    pm__bind_matrix(d, node->in[0]);
    pm__spec(d, node->out->n_col);
    pm__spec_planes(d, node->in[0]);
    pm__push_part(d, node->out->rows);
    if (node->params.embed.positions)
        pm__define(d, "BY_POSITION");
    d->n_item = pm__type_chunks(node->in[0]->type, node->in[0]->n_col);
    return PM_OK;
}

/* Head by head, a workgroup each. */
static pm_status lower_norm(pm__draft *d, const char *define) {
    const pm__node *node = d->node;
    const struct pm_push_norm words = {node->params.norm.eps};
    const uint32_t head_dim = node->params.norm.head_dim;
    pm__bind(d, node->in[0], PM__READ);
    pm__bind(d, node->out, PM__WRITE);
    pm__bind_option(d, node->in[1], "HAS_WEIGHT");
    pm__bind_option(d, node->in[2], "HAS_BIAS");
    pm__define(d, define);
    pm__spec(d, node->out->n_col);
    pm__spec(d, head_dim);
    pm__spec(d, node->in[1] != NULL ? node->in[1]->n_col : head_dim);
    pm__narrow(d, pm__ceil_div(head_dim, 4));
    pm__push(d, &words, sizeof words);
    d->n_item = node->out->n_col / head_dim;
    return PM_OK;
}

pm_status pm__lower_rmsnorm(pm__draft *d) {
    return lower_norm(d, "NORM_RMS");
}

pm_status pm__lower_layernorm(pm__draft *d) {
    return lower_norm(d, "NORM_LAYER");
}

pm_status pm__lower_l2norm(pm__draft *d) {
    return lower_norm(d, "NORM_L2");
}

/* Gate and up of an output are multiplied together, so they lie in one part. */
static pm_status check_gated(const pm__draft *d) {
    if (!d->node->params.matmul.gated || d->part->n_row == d->node->in[1]->n_row)
        return PM_OK;
    return pm__fail(PM_UNSUPPORTED,
                    "lower: node '%s': '%s' is gate and up together and has several parts",
                    d->node->name, d->node->in[1]->name);
}

/* Tiles of half the rows where a step has no more. */
static void set_tile(pm__draft *d) {
    const bool outs = d->grid.count == PM__GRID_OUTS;
    const uint32_t most = d->kernel->group_rows;
    const bool half = (outs ? d->in->n_out : d->in->n_row) <= most / 2;
    char text[sizeof d->desc.defines[0]];
    d->grid.rows_per_group = half ? most / 2 : most;
    snprintf(text, sizeof text, "TILE_R=%u", d->grid.rows_per_group);
    pm__define(d, text);
}

/* A product that is normed has no residual, so the norm's weights take its place. */
pm_status pm__lower_matmul(pm__draft *d) {
    const pm__node *node = d->node;
    const pm__tensor *w = node->in[1];
    const bool gated = node->params.matmul.gated;
    const struct pm_push_part words = {d->part->first_row,
                                       gated ? node->out->n_col : d->part->n_row,
                                       node->out->rows == PM__ROWS_OUT, node->params.matmul.eps};
    if (d->kernel->tier >= PM__TIER_COOP)
        return pm__lower_matmul_coop(d);
    PM_TRY(check_gated(d));
    pm__bind(d, node->in[0], PM__READ);
    pm__bind(d, node->out, PM__WRITE);
    pm__bind_matrix(d, w);
    pm__bind_option(d, node->in[2], "HAS_BIAS");
    if (node->params.matmul.normed)
        pm__bind_option(d, node->in[5], "HAS_NORM_WEIGHT");
    else
        pm__bind_option(d, node->in[3], "HAS_RESIDUAL");
    pm__bind_region(d, d->in->places->step[PM__STEP_ROWS], PM__READ);
    if (node->in[4] != NULL)
        pm__bind_option(d, node->in[4], "HAS_SCALE");
    if (node->params.matmul.normed)
        pm__define(d, "HAS_NORM");
    if (gated) {
        pm__define(d, "GATED");
        pm__define_name(d, "GLU", pm__glu_name(node->params.matmul.glu));
    }
    pm__spec(d, w->n_col);
    pm__spec(d, node->out->n_col);
    pm__spec_planes(d, w);
    pm__spec_at_once(d);
    pm__push(d, &words, sizeof words);
    d->n_item = words.n_row;
    d->wraps = true;
    if (d->kernel->group_rows == 1)
        pm__narrow(d, pm__type_chunks(w->type, w->n_col));
    else if (d->kernel->group_rows <= PM__MOST_FEW_ROWS)
        pm__pass(d);
    else
        set_tile(d);
    return PM_OK;
}

pm_status pm__lower_quantize(pm__draft *d) {
    const uint32_t n_in = d->node->in[0]->n_col;
    pm__bind(d, d->node->in[0], PM__READ);
    pm__bind(d, d->node->out, PM__WRITE);
    pm__spec(d, n_in);
    d->n_item = n_in / PM__BLOCK_N;
    return PM_OK;
}

/* Two inputs, one output, column by column. */
static void lower_columns(pm__draft *d) {
    pm__bind(d, d->node->in[0], PM__READ);
    pm__bind(d, d->node->in[1], PM__READ);
    pm__bind(d, d->node->out, PM__WRITE);
    pm__spec(d, d->node->out->n_col);
    d->n_item = d->node->out->n_col;
}

pm_status pm__lower_glu(pm__draft *d) {
    lower_columns(d);
    pm__define_name(d, "GLU", pm__glu_name(d->node->params.glu.kind));
    return PM_OK;
}

pm_status pm__lower_unary(pm__draft *d) {
    const struct pm_push_unary words = {d->node->params.unary.a, d->node->params.unary.b};
    pm__bind(d, d->node->in[0], PM__READ);
    pm__bind(d, d->node->out, PM__WRITE);
    pm__define_name(d, "UNARY", pm__unary_name(d->node->params.unary.kind));
    pm__spec(d, d->node->out->n_col);
    pm__push(d, &words, sizeof words);
    d->n_item = d->node->out->n_col;
    return PM_OK;
}

/* b[r * by_row + c * by_column] */
static pm_status lower_binary(pm__draft *d, const char *define) {
    const pm__tensor *b = d->node->in[1];
    lower_columns(d);
    pm__define(d, define);
    pm__spec(d, b->rows != PM__ROWS_FIXED ? b->n_col : 0);
    pm__spec(d, b->n_col > 1);
    return PM_OK;
}

pm_status pm__lower_add(pm__draft *d) {
    return lower_binary(d, "BINARY_ADD");
}

pm_status pm__lower_mul(pm__draft *d) {
    return lower_binary(d, "BINARY_MUL");
}

pm_status pm__lower_temper(pm__draft *d) {
    const struct pm_push_temper words = {d->node->params.temper.scale};
    lower_columns(d);
    pm__spec(d, d->node->params.temper.original);
    pm__spec(d, d->node->params.temper.ahead);
    pm__push(d, &words, sizeof words);
    return PM_OK;
}

pm_status pm__lower_slice(pm__draft *d) {
    pm__bind(d, d->node->in[0], PM__READ);
    pm__bind(d, d->node->out, PM__WRITE);
    pm__spec(d, d->node->out->n_col);
    pm__spec(d, d->node->in[0]->n_col);
    pm__spec(d, d->node->params.slice.stride);
    pm__spec(d, d->node->params.slice.first);
    pm__spec(d, d->node->params.slice.n);
    d->n_item = d->node->out->n_col;
    return PM_OK;
}

pm_status pm__lower_concat(pm__draft *d) {
    lower_columns(d);
    pm__spec(d, d->node->in[0]->n_col);
    pm__spec(d, d->node->in[1]->n_col);
    pm__spec(d, d->node->params.concat.n_a);
    pm__spec(d, d->node->params.concat.n_b);
    pm__spec(d, d->node->params.concat.b_stride);
    return PM_OK;
}

pm_status pm__lower_select(pm__draft *d) {
    lower_columns(d);
    return PM_OK;
}

pm_status pm__lower_sample(pm__draft *d) {
    const uint32_t n_vocab = d->node->in[0]->n_col;
    if (n_vocab >= 1u << 21)
        return pm__fail(PM_UNSUPPORTED,
                        "lower: node '%s': %u tokens: the kernel takes fewer than 2097152",
                        d->node->name, n_vocab);
    for (int i = 0; i < 5; i++)
        pm__bind(d, d->node->in[i], PM__READ);
    pm__bind(d, d->node->out, PM__WRITE);
    pm__spec(d, n_vocab);
    pm__spec(d, d->in->limits->n_ctx);
    pm__spec(d, PM_MOST_REPEAT);
    d->grid.count = PM__GRID_SAMPLES;
    return PM_OK;
}

pm_status pm__lower_advance(pm__draft *d) {
    pm__bind(d, d->node->in[0], PM__READ);
    pm__bind(d, d->node->in[1], PM__READ | PM__WRITE);
    pm__bind(d, d->node->in[2], PM__WRITE);
    pm__bind(d, d->node->in[3], PM__WRITE);
    pm__spec(d, d->in->limits->n_ctx);
    pm__spec(d, d->in->limits->n_out);
    pm__spec(d, d->node->params.advance.keeps_n_pos);
    d->grid.count = PM__GRID_SAMPLES;
    d->grid.one = true;
    return PM_OK;
}
