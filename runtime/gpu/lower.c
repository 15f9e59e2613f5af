#include "lower.h"

#include "../base/checked.h"
#include "../base/grow.h"
#include "kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- drafts: one launch in the making -------------------------------------------------------- */

typedef enum access { UNUSED = 0, READ = 1, WRITE = 2 } access;

typedef struct draft {
    const pm__lowering *in;
    const pm__node *node;
    const pm__kernel *kernel;
    const pm__weight_part *part; /* of the node's matrix; NULL for operations without one */
    pm__pipeline_desc desc;
    pm__dispatch dispatch;
    pm__grid grid;
    uint32_t n_item; /* along x */
} draft;

static void bind_region(draft *d, pm__region region, unsigned how) {
    const uint32_t i = d->dispatch.n_binding++;
    d->dispatch.bindings[i] = region;
    if (how & READ)
        d->dispatch.read_mask |= 1u << i;
    if (how & WRITE)
        d->dispatch.write_mask |= 1u << i;
}

static pm__region place(const draft *d, const pm__tensor *t) {
    const pm__places *places = d->in->places;
    switch (t->kind) {
    case PM__WEIGHT:
        return places->weights[t->index].parts[0].quants;
    case PM__ACTIVATION:
        return places->activations[t->index];
    case PM__CACHE:
        return places->caches[t->index];
    case PM__STATE:
        return places->states[t->index];
    case PM__STEP:
        break;
    }
    return places->step[t->index];
}

static void bind(draft *d, const pm__tensor *t, unsigned how) {
    bind_region(d, place(d, t), how);
}

static void define(draft *d, const char *text) {
    snprintf(d->desc.defines[d->desc.n_define++], sizeof d->desc.defines[0], "%s", text);
}

/* An optional input keeps its number when it is absent, through a binding that the shader does not
 * have. */
static void bind_option(draft *d, const pm__tensor *t, const char *define_name) {
    if (t == NULL) {
        bind_region(d, d->dispatch.bindings[0], UNUSED);
        return;
    }
    define(d, define_name);
    bind(d, t, READ);
}

static void spec(draft *d, uint32_t value) {
    d->desc.spec[d->desc.n_spec++] = value;
}

static void push(draft *d, const void *words, size_t n_byte) {
    memcpy(d->dispatch.push, words, n_byte);
    d->dispatch.n_push = (uint32_t)(n_byte / sizeof(uint32_t));
    d->desc.push_bytes = (uint32_t)n_byte;
}

/* "W_F16" */
static void define_type(draft *d, const char *prefix, const pm__tensor *t) {
    char text[sizeof d->desc.defines[0]];
    snprintf(text, sizeof text, "%s_%s", prefix, pm__type_get(t->type)->planes);
    define(d, text);
}

/* The planes of the matrix part, and what w_chunk() needs to know of it. */
static void bind_matrix(draft *d, const pm__tensor *w) {
    bind_region(d, d->part->quants, READ);
    if (d->part->scales.bytes > 0)
        bind_region(d, d->part->scales, READ);
    else
        bind_region(d, d->dispatch.bindings[0], UNUSED);
    define_type(d, "W", w);
}

static void spec_planes(draft *d, const pm__tensor *w) {
    spec(d, pm__type_chunks(w->type, w->n_col));
    spec(d, pm__type_scale_words(w->type, w->n_col));
}

static void push_part(draft *d, pm__row_count rows) {
    const struct pm_push_part words = {d->part->first_row, d->part->n_row, rows == PM__ROWS_OUT};
    push(d, &words, sizeof words);
}

/* ---- one function an operation --------------------------------------------------------------- */

static pm_status fill_embed(draft *d) {
    const pm__node *node = d->node;
    bind(d, node->in[1], READ);
    bind(d, node->out, WRITE);
    bind_matrix(d, node->in[0]);
    spec(d, node->out->n_col);
    spec_planes(d, node->in[0]);
    push_part(d, node->out->rows);
    d->n_item = pm__type_chunks(node->in[0]->type, node->in[0]->n_col);
    return PM_OK;
}

static pm_status fill_rmsnorm(draft *d) {
    const struct pm_push_rmsnorm words = {d->node->params.rmsnorm.eps};
    bind(d, d->node->in[0], READ);
    bind(d, d->node->out, WRITE);
    bind(d, d->node->in[1], READ);
    spec(d, d->node->out->n_col);
    push(d, &words, sizeof words);
    return PM_OK;
}

static pm_status fill_matmul(draft *d) {
    const pm__node *node = d->node;
    const pm__tensor *w = node->in[1];
    bind(d, node->in[0], READ);
    bind(d, node->out, WRITE);
    bind_matrix(d, w);
    bind_option(d, node->in[2], "HAS_BIAS");
    bind_option(d, node->in[3], "HAS_RESIDUAL");
    bind_region(d, d->in->places->step[PM__STEP_ROWS], READ);
    spec(d, w->n_col);
    spec(d, node->out->n_col);
    spec_planes(d, w);
    push_part(d, node->out->rows);
    d->n_item = d->part->n_row;
    return PM_OK;
}

static void split_fraction(double fraction, uint32_t *hi, uint32_t *lo) {
    const double scaled = fraction * 0x1p32;
    *hi = scaled < 0x1p32 ? (uint32_t)scaled : UINT32_MAX;
    *lo = scaled < 0x1p32 ? (uint32_t)((scaled - *hi) * 0x1p32) : UINT32_MAX;
}

static pm_status fill_rope(draft *d) {
    const pm__node *node = d->node;
    const double two_pi = 6.283185307179586477, base = node->params.rope.freq_base;
    const double scale = node->params.rope.freq_scale, n_rot = node->params.rope.n_rot;
    if (!(base >= 1.0) || !(scale >= 0.0) || !(scale < two_pi) || n_rot > 512 ||
        node->params.rope.head_dim % 2 != 0)
        return pm__fail(PM_UNSUPPORTED,
                        "lower: node '%s': rotation of %g of %u columns, base %g, scale %g: the "
                        "kernel needs at most 512 of an even number, a base of 1 or more, a scale "
                        "below 6.28",
                        node->name, n_rot, node->params.rope.head_dim, base, scale);
    struct pm_push_rope words;
    split_fraction(scale / two_pi, &words.turn_hi, &words.turn_lo);
    for (int j = 0; j < PM_ROPE_POWERS; j++)
        split_fraction(pow(base, -2.0 * (1 << j) / n_rot), &words.power_hi[j], &words.power_lo[j]);
    push(d, &words, sizeof words);
    bind(d, node->in[0], READ);
    bind(d, node->out, WRITE);
    bind(d, node->in[1], READ);
    bind_option(d, node->in[2], "HAS_FACTORS");
    spec(d, node->out->n_col);
    spec(d, node->params.rope.head_dim);
    spec(d, node->params.rope.n_rot);
    spec(d, node->params.rope.style == PM__ROPE_HALVES);
    d->n_item = node->out->n_col / 2;
    return PM_OK;
}

/* The planes of a cache: quants, and scales where the type has any. */
static pm__region quants_of(const draft *d, const pm__tensor *cache) {
    pm__region region = place(d, cache);
    const pm__cache_layout at = pm__limits_cache_layout(d->in->limits, cache);
    if (at.scales_row > 0)
        region.bytes = at.scales;
    return region;
}

static void bind_scales(draft *d, const pm__tensor *cache, unsigned how) {
    const pm__cache_layout at = pm__limits_cache_layout(d->in->limits, cache);
    pm__region region = place(d, cache);
    if (at.scales_row == 0) {
        bind_region(d, d->dispatch.bindings[0], UNUSED);
        return;
    }
    region.offset += at.scales;
    region.bytes -= at.scales;
    bind_region(d, region, how);
}

static pm_status fill_kv_store(draft *d) {
    const pm__tensor *cache = d->node->out;
    const uint32_t n_quant = pm__type_quant_words(cache->type, cache->n_col);
    bind(d, d->node->in[0], READ);
    bind_region(d, quants_of(d, cache), WRITE);
    bind(d, d->node->in[1], READ);
    bind(d, d->node->in[2], READ);
    bind_scales(d, cache, WRITE);
    define_type(d, "C", cache);
    spec(d, cache->n_col);
    spec(d, d->in->limits->n_ctx);
    spec_planes(d, cache);
    d->n_item = pm__type_get(cache->type)->block_n > 1 ? cache->n_col / 4 : n_quant;
    return PM_OK;
}

/* Chunks of a cache row that hold a head, wherever it begins. */
static uint32_t chunks_of_head(const pm__tensor *cache, uint32_t head_dim) {
    const uint32_t n_chunk = pm__type_chunks(cache->type, cache->n_col);
    const uint32_t n_each = pm__ceil_div(cache->n_col, n_chunk);
    return pm__ceil_div(head_dim, n_each) + (head_dim % n_each != 0);
}

/* Loops of attention.comp: over tiles of positions, in each over the chunks of a key, over the
 * positions whose values an invocation adds, and in two reductions. */
static pm_status check_turns(const draft *d, uint32_t head_dim) {
    const uint32_t wg = d->kernel->workgroup, most = d->in->gpu->caps.most_turns;
    const uint32_t k_n = chunks_of_head(d->node->in[1], head_dim);
    const uint32_t n_group = pm__most_u32(1, wg / chunks_of_head(d->node->in[2], head_dim));
    const uint32_t of_tile = 1 + k_n + pm__ceil_div(wg, n_group) + 2 * (wg / 4);
    const uint32_t n_tile = (most - 2 * wg) / of_tile;
    if (most == UINT32_MAX || d->in->limits->n_ctx <= n_tile * wg)
        return PM_OK;
    return pm__fail(
        PM_UNSUPPORTED,
        "lower: node '%s': a context of %u positions: %s ends the loops of a kernel after "
        "%u turns, which serve %u; use a smaller -c, a newer driver or another --device",
        d->node->name, d->in->limits->n_ctx, d->in->gpu->info.driver, most, n_tile * wg);
}

static pm_status fill_attention(draft *d) {
    const pm__node *node = d->node;
    const uint32_t head_dim = node->params.attention.head_dim;
    if (head_dim % 2 != 0 || head_dim > 4 * d->kernel->workgroup)
        return pm__fail(PM_UNSUPPORTED,
                        "lower: node '%s': heads of %u columns: the kernel needs an "
                        "even number of at most %u",
                        node->name, head_dim, 4 * d->kernel->workgroup);
    PM_TRY(check_turns(d, head_dim));
    const struct pm_push_attention words = {node->params.attention.scale};
    bind(d, node->in[0], READ);
    bind_region(d, quants_of(d, node->in[1]), READ);
    bind_region(d, quants_of(d, node->in[2]), READ);
    bind(d, node->out, WRITE);
    bind(d, node->in[3], READ);
    bind(d, node->in[4], READ);
    bind_scales(d, node->in[1], READ);
    bind_scales(d, node->in[2], READ);
    define_type(d, "K", node->in[1]);
    define_type(d, "V", node->in[2]);
    spec(d, head_dim);
    spec(d, node->params.attention.n_head);
    spec(d, node->params.attention.n_head_kv);
    spec(d, d->in->limits->n_ctx);
    spec_planes(d, node->in[1]);
    spec_planes(d, node->in[2]);
    push(d, &words, sizeof words);
    d->n_item = node->params.attention.n_head;
    return PM_OK;
}

/* SWIGLU, ADD and SELECT: two inputs, one output, column by column. */
static pm_status fill_columns(draft *d) {
    bind(d, d->node->in[0], READ);
    bind(d, d->node->in[1], READ);
    bind(d, d->node->out, WRITE);
    spec(d, d->node->out->n_col);
    d->n_item = d->node->out->n_col;
    return PM_OK;
}

static pm_status fill_sample(draft *d) {
    const uint32_t n_vocab = d->node->in[0]->n_col;
    if (n_vocab >= 1u << 21)
        return pm__fail(PM_UNSUPPORTED,
                        "lower: node '%s': %u tokens: the kernel takes fewer than 2097152",
                        d->node->name, n_vocab);
    for (int i = 0; i < 5; i++)
        bind(d, d->node->in[i], READ);
    bind(d, d->node->out, WRITE);
    spec(d, n_vocab);
    spec(d, d->in->limits->n_ctx);
    spec(d, PM_MOST_REPEAT);
    d->grid.count = PM__GRID_SAMPLES;
    return PM_OK;
}

static pm_status fill_advance(draft *d) {
    bind(d, d->node->in[0], READ);
    bind(d, d->node->in[1], READ | WRITE);
    bind(d, d->node->in[2], WRITE);
    bind(d, d->node->in[3], WRITE);
    spec(d, d->in->limits->n_ctx);
    spec(d, d->in->limits->n_out);
    d->grid.count = PM__GRID_SAMPLES;
    d->grid.one = true;
    return PM_OK;
}

static const struct {
    pm_status (*fill)(draft *d);
    int matrix; /* which input is a weight of any type, in parts; -1: none */
} ops[PM__OP_COUNT] = {
    [PM__OP_EMBED] = {fill_embed, 0},        [PM__OP_RMSNORM] = {fill_rmsnorm, -1},
    [PM__OP_MATMUL] = {fill_matmul, 1},      [PM__OP_ROPE] = {fill_rope, -1},
    [PM__OP_KV_STORE] = {fill_kv_store, -1}, [PM__OP_ATTENTION] = {fill_attention, -1},
    [PM__OP_SWIGLU] = {fill_columns, -1},    [PM__OP_ADD] = {fill_columns, -1},
    [PM__OP_SELECT] = {fill_columns, -1},    [PM__OP_SAMPLE] = {fill_sample, -1},
    [PM__OP_ADVANCE] = {fill_advance, -1},
};

/* ---- from drafts to the program -------------------------------------------------------------- */

/* Weights other than the matrix are read as plain floats of one part. */
static pm_status check_vectors(const pm__lowering *in, const pm__node *node) {
    for (int i = 0; i < PM__MOST_INPUTS; i++) {
        const pm__tensor *t = node->in[i];
        if (i == ops[node->op].matrix || t == NULL || t->kind != PM__WEIGHT)
            continue;
        if (t->type != PM__TYPE_F32 || in->places->weights[t->index].n_part != 1)
            return pm__fail(PM_UNSUPPORTED,
                            "lower: node '%s': '%s' is %s: the %s kernel reads vectors in F32 only",
                            node->name, t->name, pm__type_get(t->type)->name,
                            pm__op_get(node->op)->name);
    }
    return PM_OK;
}

static pm_status check_ranges(const draft *d) {
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

static bool same_grid(const pm__grid *a, const pm__grid *b) {
    return a->count == b->count && a->rows_per_group == b->rows_per_group && a->axis == b->axis &&
           a->one == b->one && memcmp(a->others, b->others, sizeof a->others) == 0;
}

static pm_status add_grid(pm__program *program, const pm__grid *grid, uint32_t *index) {
    for (*index = 0; *index < program->n_grid; ++*index)
        if (same_grid(&program->grids[*index], grid))
            return PM_OK;
    PM_TRY(
        pm__grow("lower", &program->grids, &program->grid_capacity, program->n_grid, sizeof *grid));
    program->grids[program->n_grid++] = *grid;
    return PM_OK;
}

/* Items along x; where they are more than the device allows, matrix kernels go on along z. */
static pm_status set_items(draft *d) {
    const uint32_t most = d->in->gpu->caps.most_group_x;
    const uint32_t n = pm__ceil_div(d->n_item, d->kernel->group_items);
    if (n > most && d->node->op != PM__OP_MATMUL)
        return pm__fail(PM_UNSUPPORTED, "lower: node '%s': %u workgroups, and the device takes %u",
                        d->node->name, n, most);
    d->grid.others[0] = n < most ? n : most;
    d->grid.others[1] = 1;
    d->grid.others[2] = pm__ceil_div(n, d->grid.others[0]);
    return PM_OK;
}

static pm__cost part_cost(const pm__lowering *in, const draft *d) {
    pm__cost cost = pm__node_cost(d->node, in->n_row, in->n_out, in->limits->n_ctx);
    if (d->part != NULL) {
        const double share = (double)d->part->n_row / d->node->in[ops[d->node->op].matrix]->n_row;
        cost.bytes = (uint64_t)((double)cost.bytes * share);
        cost.flops = (uint64_t)((double)cost.flops * share);
    }
    return cost;
}

/* A workgroup no wider than a short row keeps busy, but not narrower than a subgroup. */
static uint32_t workgroup(const pm__lowering *in, const pm__node *node, const pm__kernel *kernel) {
    uint32_t n = kernel->workgroup;
    if (node->op != PM__OP_MATMUL || kernel->group_rows != 1)
        return n;
    const uint32_t n_chunk = pm__type_chunks(node->in[1]->type, node->in[1]->n_col);
    while (n / 2 >= n_chunk && n / 2 >= in->gpu->caps.subgroup_max && n / 2 >= 8)
        n /= 2;
    return n;
}

static pm_status lower_part(const pm__lowering *in, const pm__node *node, const pm__kernel *kernel,
                            const pm__weight_part *part, pm__program *out) {
    const pm__tensor *rows = node->out->kind == PM__ACTIVATION ? node->out : node->in[0];
    draft d = {
        .in = in,
        .node = node,
        .kernel = kernel,
        .part = part,
        .desc = {.name = kernel->name, .file = kernel->file, .tier = kernel->tier},
        .dispatch = {.node = node, .kernel = kernel},
        .grid = {.count = rows->rows == PM__ROWS_OUT ? PM__GRID_OUTS : PM__GRID_ROWS,
                 .rows_per_group = kernel->group_rows,
                 .axis = 1},
        .n_item = 1,
    };
    spec(&d, workgroup(in, node, kernel));
    if (kernel->tier >= PM__TIER_SUBGROUP)
        define(&d, "TIER_SUBGROUP");
    PM_TRY(ops[node->op].fill(&d));
    PM_TRY(check_ranges(&d));
    PM_TRY(set_items(&d));
    d.desc.n_binding = d.dispatch.n_binding;
    d.dispatch.cost = part_cost(in, &d);
    PM_TRY(pm__pipelines_request(in->pipelines, &d.desc, &d.dispatch.pipeline));
    PM_TRY(add_grid(out, &d.grid, &d.dispatch.grid));
    PM_TRY(pm__grow("lower", &out->dispatches, &out->capacity, out->n_dispatch,
                    sizeof *out->dispatches));
    out->dispatches[out->n_dispatch++] = d.dispatch;
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

static pm_status lower_node(const pm__lowering *in, const pm__node *node, pm__program *out) {
    const pm__tensor *rows = node->out->kind == PM__ACTIVATION ? node->out : node->in[0];
    const uint32_t n_row = rows->rows == PM__ROWS_BATCH ? in->n_row : in->n_out;
    const pm__kernel *kernel = in->kernel;
    if (kernel == NULL)
        kernel = pm__kernel_choose(&in->gpu->caps, node->op, in->limits->deterministic ? 1 : n_row);
    if (kernel == NULL)
        return fail_no_kernel(in, node);
    PM_TRY(check_vectors(in, node));
    const int matrix = ops[node->op].matrix;
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
        PM_TRY(lower_node(in, &in->graph->nodes[i], out));
    return PM_OK;
}

void pm__program_finish(pm__program *program) {
    free(program->dispatches);
    free(program->grids);
    memset(program, 0, sizeof *program);
}
