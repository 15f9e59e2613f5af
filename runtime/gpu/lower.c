/* lower.c: kernels for nodes, and drafts to the program. */
#include "../base/checked.h"
#include "../base/grow.h"
#include "draft.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pm_status (*const ops[])(pm__draft *d) = {
#define PM_OP(NAME, name, matrix, nmse, what) [PM__OP_##NAME] = pm__lower_##name,
#include "../graph/ops.def"
#undef PM_OP
};

/* Weights other than the matrix are read as plain floats of one part. */
static pm_status check_vectors(const pm__lowering *in, const pm__node *node) {
    for (int i = 0; i < PM__MOST_INPUTS; i++) {
        const pm__tensor *t = node->in[i];
        if (i == pm__op_get(node->op)->matrix || t == NULL || t->kind != PM__WEIGHT)
            continue;
        if (t->type != PM__TYPE_F32 || in->places->weights[t->index].n_part != 1)
            return pm__fail(PM_UNSUPPORTED,
                            "lower: node '%s': '%s' is %s: the %s kernel reads vectors in F32 only",
                            node->name, t->name, pm__type_get(t->type)->name,
                            pm__op_get(node->op)->name);
    }
    return PM_OK;
}

static pm_status check_ranges(const pm__draft *d) {
    const uint64_t most = d->in->gpu->caps.most_range;
    for (uint32_t i = 0; i < d->dispatch.n_binding; i++)
        if (d->dispatch.bindings[i].bytes > most)
            return pm__fail(
                PM_OUT_OF_MEMORY,
                "lower: node '%s': an operand of %llu bytes, and a kernel of this device "
                "reaches %llu; try a smaller context (-c) or batch (-b)",
                d->node->name, (unsigned long long)d->dispatch.bindings[i].bytes,
                (unsigned long long)most);
    return PM_OK;
}

/* Rows of groups of a node in pieces, closed by 0. */
static const uint32_t pieces[PM__MOST_PIECES + 1] = {PM__MOST_JOINED, 10, PM__PIECE, 6, 4, 2, 1};

/* Of a node in pieces, where there are n rows. */
static uint32_t piece_groups(const pm__grid *grid, uint32_t n) {
    const uint32_t left = n % PM__PIECE;
    const bool joined =
        grid->joins && n > PM__PIECE && left > 0 && left + PM__PIECE <= PM__MOST_JOINED;
    const uint32_t rest = joined ? left + PM__PIECE : left;
    if (grid->rows == PM__GRID_MOST)
        return (n + 1) / PM__PIECE - joined;
    return grid->rows_per_group == (rest > 1 ? rest + rest % 2 : rest);
}

uint32_t pm__grid_groups(const pm__grid *grid, uint32_t n) {
    if (grid->one)
        return n > 0;
    return grid->rows == PM__GRID_ALL ? pm__ceil_div(n, grid->rows_per_group)
                                      : piece_groups(grid, n);
}

static bool same_grid(const pm__grid *a, const pm__grid *b) {
    return a->count == b->count && a->rows_per_group == b->rows_per_group && a->axis == b->axis &&
           a->one == b->one && a->rows == b->rows && a->joins == b->joins &&
           memcmp(a->others, b->others, sizeof a->others) == 0;
}

pm_status pm__program_add_grid(pm__program *program, const pm__grid *grid, uint32_t *index) {
    for (*index = 0; *index < program->n_grid; ++*index)
        if (same_grid(&program->grids[*index], grid))
            return PM_OK;
    PM_TRY(
        pm__grow("lower", &program->grids, &program->grid_capacity, program->n_grid, sizeof *grid));
    program->grids[program->n_grid++] = *grid;
    return PM_OK;
}

/* Items along x; where they are more than the device allows, some kernels go on along z. */
static pm_status set_items(pm__draft *d) {
    const uint32_t most = d->in->gpu->caps.most_group_x;
    const uint32_t n = pm__ceil_div(d->n_item, d->kernel->group_items);
    if (n > most && !d->wraps)
        return pm__fail(PM_UNSUPPORTED, "lower: node '%s': %u workgroups, and the device takes %u",
                        d->node->name, n, most);
    d->grid.others[0] = n < most ? n : most;
    d->grid.others[1] = 1;
    d->grid.others[2] = d->n_layer > 0 ? d->n_layer : pm__ceil_div(n, d->grid.others[0]);
    return PM_OK;
}

static pm__cost part_cost(const pm__lowering *in, const pm__draft *d) {
    pm__cost cost = pm__node_cost(d->node, in->n_row, in->n_out, in->limits->n_ctx);
    if (d->part != NULL) {
        const double share =
            (double)d->part->n_row / d->node->in[pm__op_get(d->node->op)->matrix]->n_row;
        cost.bytes = (uint64_t)((double)cost.bytes * share);
        cost.flops = (uint64_t)((double)cost.flops * share);
    }
    return cost;
}

/* Where more answers go on at once than fit a piece; for prompts alone they are not worth
 * their pipelines. */
static bool joins_pieces(const pm__lowering *in) {
    return in->limits->n_seq > PM__PIECE;
}

/* piece  rows of one of the node's pieces; 0: it has none */
static pm_status lower_piece(const pm__lowering *in, const pm__node *node, const pm__kernel *kernel,
                             const pm__weight_part *part, uint32_t piece, pm__program *out) {
    const pm__tensor *rows = node->out->kind == PM__ACTIVATION ? node->out : node->in[0];
    pm__draft d = {
        .in = in,
        .node = node,
        .kernel = kernel,
        .part = part,
        .piece = piece,
        .desc = {.name = kernel->name, .file = kernel->file, .tier = kernel->tier},
        .dispatch = {.node = node, .kernel = kernel},
        .grid = {.count = rows->rows == PM__ROWS_OUT ? PM__GRID_OUTS : PM__GRID_ROWS,
                 .rows_per_group = kernel->group_rows,
                 .joins = piece > 0 && joins_pieces(in),
                 .axis = 1},
        .n_item = 1,
    };
    pm__spec(&d, kernel->workgroup);
    if (kernel->tier >= PM__TIER_SUBGROUP)
        pm__define(&d, "TIER_SUBGROUP");
    PM_TRY(ops[node->op](&d));
    PM_TRY(check_ranges(&d));
    PM_TRY(set_items(&d));
    d.desc.n_binding = d.dispatch.n_binding;
    if (d.grid.rows != PM__GRID_REST) /* what is left is little of a full step */
        d.dispatch.cost = part_cost(in, &d);
    PM_TRY(pm__pipelines_request(in->pipelines, &d.desc, &d.dispatch.pipeline));
    PM_TRY(pm__program_add_grid(out, &d.grid, &d.dispatch.grid));
    PM_TRY(pm__grow("lower", &out->dispatches, &out->capacity, out->n_dispatch,
                    sizeof *out->dispatches));
    out->dispatches[out->n_dispatch++] = d.dispatch;
    return PM_OK;
}

/* Where steps of a few rows are usual, on a driver that computes as long as there are rows in a
 * group. Weights that are read once more cost it little. */
static bool has_pieces(const pm__lowering *in, const pm__node *node, const pm__kernel *kernel) {
    return node->op == PM__OP_MATMUL && kernel->suits == PM__SUITS_SOFTWARE &&
           kernel->group_rows == PM__PIECE && in->limits->n_seq > 1 && !in->limits->deterministic;
}

static pm_status lower_part(const pm__lowering *in, const pm__node *node, const pm__kernel *kernel,
                            const pm__weight_part *part, pm__program *out) {
    if (!has_pieces(in, node, kernel))
        return lower_piece(in, node, kernel, part, 0, out);
    for (const uint32_t *piece = pieces; *piece > 0; piece++)
        if (*piece <= PM__PIECE || joins_pieces(in))
            PM_TRY(lower_piece(in, node, kernel, part, *piece, out));
    return PM_OK;
}

/* Names the kernels that would fit and may not be used. */
static pm_status fail_no_kernel(const pm__lowering *in, const pm__node *node) {
    char names[128] = "";
    size_t n_kernel, used = 0;
    const pm__kernel *table = pm__kernel_table(&n_kernel);
    for (size_t i = 0; i < n_kernel; i++) {
        if (!pm__kernel_fits(&in->gpu->caps, &table[i], node->op) || used >= sizeof names - 1)
            continue;
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used > 0 ? ", " : "",
                                 table[i].name);
    }
    if (used == 0)
        return pm__fail(PM_UNSUPPORTED, "lower: node '%s': no %s kernel on %s", node->name,
                        pm__op_get(node->op)->name, in->gpu->info.name);
    return pm__fail(PM_UNSUPPORTED,
                    "lower: node '%s': no %s kernel on %s: %s failed a check with this "
                    "driver; update the driver, take another --device, or forget the check with "
                    "'pumice check --clear'",
                    node->name, pm__op_get(node->op)->name, in->gpu->info.name, names);
}

const pm__kernel *pm__lower_choose(const pm__lowering *in, const pm__node *node) {
    const pm__tensor *rows = node->out->kind == PM__ACTIVATION ? node->out : node->in[0];
    const pm__caps *caps = &in->gpu->caps;
    uint32_t n_row = rows->rows == PM__ROWS_BATCH ? in->n_row : in->n_out;
    if (in->kernel != NULL)
        return in->kernel;
    if (in->limits->deterministic)
        n_row = 1;
    /* Where nobody can tell which rows an expert has. */
    if (node->op == PM__OP_EXPERTS_MATMUL && node->in[4] != NULL &&
        pm__kernel_choose(caps, PM__OP_GROUP, NULL, n_row) == NULL)
        n_row = 1;
    return pm__kernel_choose(caps, node->op, node, n_row);
}

/* Groups that no kernel looks at: those for few rows find the experts of a row themselves. */
static bool is_idle(const pm__lowering *in, const pm__node *node) {
    uint32_t n_reader = 0;
    for (uint32_t i = 0; i < in->graph->n_node && node->op == PM__OP_GROUP; i++) {
        const pm__node *reader = &in->graph->nodes[i];
        if (reader->op != PM__OP_EXPERTS_MATMUL || reader->in[4] != node->out)
            continue;
        const pm__kernel *kernel = pm__lower_choose(in, reader);
        if (kernel == NULL || kernel->group_rows > 1)
            return false;
        n_reader++;
    }
    return n_reader > 0;
}

static pm_status lower_node(const pm__lowering *in, const pm__node *node, pm__program *out) {
    if (is_idle(in, node))
        return PM_OK;
    const pm__kernel *kernel = pm__lower_choose(in, node);
    if (kernel == NULL)
        return fail_no_kernel(in, node);
    PM_TRY(check_vectors(in, node));
    const int matrix = pm__op_get(node->op)->matrix;
    if (matrix < 0)
        return lower_part(in, node, kernel, NULL, out);
    const pm__weight_place *w = &in->places->weights[node->in[matrix]->index];
    for (uint32_t i = 0; i < w->n_part; i++)
        PM_TRY(lower_part(in, node, kernel, &w->parts[i], out));
    return PM_OK;
}

pm_status pm__lower(const pm__lowering *in, pm__program *out) {
    memset(out, 0, sizeof *out);
    for (uint32_t i = 0; i < in->graph->n_node; i++)
        if (!in->graph->has_encoder || in->graph->nodes[i].encoder == in->encoder)
            PM_TRY(lower_node(in, &in->graph->nodes[i], out));
    return PM_OK;
}

void pm__program_finish(pm__program *program) {
    free(program->dispatches);
    free(program->grids);
    memset(program, 0, sizeof *program);
}
