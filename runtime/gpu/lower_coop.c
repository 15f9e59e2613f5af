/* lower_coop.c: products with matrix units: how a workgroup's tile is laid out over the matrices
 * that the device has and over its subgroups. Everything is a constant of the shader, so that one
 * SPIR-V file serves all devices. */
#include "lower_coop.h"

#include "../graph/blocks.h"

typedef struct tiling {
    pm__shape shape;
    uint32_t subs_r, subs_o; /* subgroups along rows and outputs */
} tiling;

/* Rows and columns that a subgroup reads for a column of its matrices: fewer are better, larger
 * matrices come before. Products of integers read scales of rows, too, number by number. */
static uint32_t reads_of(const pm__kernel *kernel, const tiling *t) {
    const uint32_t row_cost = kernel->tier == PM__TIER_COOP8 ? 2 : 1;
    return kernel->group_rows / t->subs_r * row_cost + kernel->group_items / t->subs_o;
}

static bool is_better(const pm__kernel *kernel, const tiling *a, const tiling *b) {
    const uint32_t size_a = a->shape.m * a->shape.n * a->shape.k;
    const uint32_t size_b = b->shape.m * b->shape.n * b->shape.k;
    if (b->subs_r == 0 || size_a != size_b)
        return size_a > size_b;
    return reads_of(kernel, a) < reads_of(kernel, b);
}

static void try_shape(const pm__kernel *kernel, const pm__shape *shape, uint32_t n_sub,
                      tiling *best) {
    if (!pm__divides(shape->k, PM__TILE_C) || shape->k % 8 != 0)
        return;
    for (uint32_t subs_r = 1; subs_r <= n_sub; subs_r *= 2) {
        const tiling t = {.shape = *shape, .subs_r = subs_r, .subs_o = n_sub / subs_r};
        if (pm__divides(shape->m * t.subs_r, kernel->group_rows) &&
            pm__divides(shape->n * t.subs_o, kernel->group_items) && is_better(kernel, &t, best))
            *best = t;
    }
}

/* Two buffers, so that one is filled while the other is read, where that leaves room for other
 * workgroups on the same processor; what comes next is in registers meanwhile in any case. */
static uint32_t buffers_of(const pm__draft *d, const tiling *t) {
    const pm__kernel *kernel = d->kernel;
    const uint32_t most = 32768, has = d->in->gpu->properties.limits.maxComputeSharedMemorySize;
    const uint32_t rest =
        t->subs_r * t->subs_o * t->shape.m * t->shape.n * 4 + (kernel->group_rows + 1) * 8 + 4;
    const uint32_t tile = (kernel->group_rows + kernel->group_items) * PM__TILE_ROW_BYTES;
    return 2 * tile + rest <= (has < most ? has : most) ? 2 : 1;
}

static pm_status choose_tiling(const pm__draft *d, tiling *out) {
    const pm__caps *caps = &d->in->gpu->caps;
    const bool dot8 = d->kernel->tier == PM__TIER_COOP8;
    const pm__shapes *shapes = &caps->units.shapes[dot8 ? PM__SHAPES_S8_S32 : PM__SHAPES_F16_F32];
    *out = (tiling){.subs_r = 0};
    for (uint32_t i = 0; i < shapes->n; i++)
        try_shape(d->kernel, &shapes->items[i], d->kernel->workgroup / caps->subgroup_min, out);
    if (out->subs_r == 0)
        return pm__fail(PM_UNSUPPORTED,
                        "lower: node '%s': none of the cooperative matrices of %s divides the tile "
                        "of kernel '%s'; 'pumice check' puts it into quarantine",
                        d->node->name, d->in->gpu->info.name, d->kernel->name);
    return PM_OK;
}

/* What a product is made of; `other` is added or, of experts, says which rows they have. */
typedef struct product {
    const pm__tensor *bias, *other, *scale;
    uint32_t n_out;
    uint32_t n_expert; /* 0: of one matrix */
    uint32_t n_slot, x_slots;
} product;

static void push_product(pm__draft *d, const product *p) {
    enum { BIAS = 1, OTHER = 2, SCALE = 4 };
    const pm__tensor *w = d->node->in[1];
    const struct pm_push_coop words = {
        .first_row = d->part->first_row,
        .n_row = d->part->n_row,
        .outs = d->node->out->rows == PM__ROWS_OUT,
        .n_in = w->n_col,
        .n_out = p->n_out,
        .n_chunk = pm__type_chunks(w->type, w->n_col),
        .n_scale = pm__type_scale_words(w->type, w->n_col),
        .options = (p->bias != NULL ? BIAS : 0u) | (p->other != NULL ? OTHER : 0u) |
                   (p->scale != NULL ? SCALE : 0u),
        .n_expert = p->n_expert,
        .n_slot = p->n_slot,
        .x_slots = p->x_slots,
    };
    pm__push(d, &words, sizeof words);
}

/* Matrices of a block's 32 columns where those of 16 share a scale. No driver that runs on the CPU
 * has such matrices; its large tiles do the same all the same, so that it is tried. */
static bool spreads(const pm__draft *d, const tiling *t) {
    enum { HALF = PM__BLOCK_N / 2, LARGE = 64 };
    return t->shape.k > HALF || (d->in->gpu->caps.software && d->kernel->group_rows >= LARGE);
}

static pm_status shape_product(pm__draft *d, const product *p) {
    tiling t;
    PM_TRY(choose_tiling(d, &t));
    pm__spec(d, t.shape.m);
    pm__spec(d, t.shape.n);
    pm__spec(d, t.shape.k);
    pm__spec(d, t.subs_r);
    pm__spec(d, t.subs_o);
    pm__spec(d, d->kernel->tier == PM__TIER_COOP8 ? spreads(d, &t) : buffers_of(d, &t));
    pm__spec(d, p->n_expert > 0);
    return PM_OK;
}

static pm_status lower_product(pm__draft *d, const product *p) {
    pm__bind(d, d->node->in[0], PM__READ);
    pm__bind(d, d->node->out, PM__WRITE);
    pm__bind_matrix(d, d->node->in[1]);
    pm__bind_other(d, p->bias);
    pm__bind_other(d, p->other);
    pm__bind_region(d, d->in->places->step[PM__STEP_ROWS], PM__READ);
    pm__bind_other(d, p->scale);
    pm__spec(d, d->kernel->group_rows);
    pm__spec(d, d->kernel->group_items);
    PM_TRY(d->kernel->tier == PM__TIER_COOP2 ? pm__shape_matmul_coop2(d) : shape_product(d, p));
    push_product(d, p);
    return PM_OK;
}

pm_status pm__lower_matmul_coop(pm__draft *d) {
    const pm__tensor *const *in = d->node->in;
    const product p = {.bias = in[2], .other = in[3], .scale = in[4], .n_out = d->node->out->n_col};
    d->n_item = d->part->n_row;
    d->wraps = true;
    return lower_product(d, &p);
}

pm_status pm__lower_experts_coop(pm__draft *d) {
    const pm__tensor *const *in = d->node->in;
    const uint32_t n_expert = d->node->params.experts.n_expert;
    const uint32_t n_slot = d->node->params.experts.n_slot;
    const product p = {.bias = in[2],
                       .other = in[4],
                       .scale = in[5],
                       .n_out = in[1]->n_row / n_expert,
                       .n_expert = n_expert,
                       .n_slot = n_slot,
                       .x_slots = in[0]->n_col == in[1]->n_col ? 1 : n_slot};
    d->n_item = p.n_out;
    d->n_layer = n_expert;
    return lower_product(d, &p);
}
