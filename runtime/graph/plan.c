/* plan.c: places of activations in the arena, and sizes by the limits of a session. */
#include "plan.h"

#include "../../shaders/params.h"
#include "../base/checked.h"

#include <stdlib.h>

/* Nodes [first, last] during which an activation holds a value that is still needed. */
typedef struct life {
    uint32_t activation, first, last;
    uint64_t bytes, offset;
} life;

static void touch(life *lives, const pm__tensor *t, uint32_t node) {
    if (t->kind != PM__ACTIVATION)
        return;
    life *l = &lives[t->index];
    if (l->first > node)
        l->first = node;
    if (l->last < node)
        l->last = node;
}

static void find_lives(life *lives, const pm__graph *g) {
    for (uint32_t i = 0; i < g->n_activation; i++)
        lives[i] = (life){.activation = i, .first = UINT32_MAX};
    for (uint32_t i = 0; i < g->n_node; i++) {
        pm__access access;
        pm__node_access(&g->nodes[i], &access);
        for (uint32_t k = 0; k < access.n_read; k++)
            touch(lives, access.reads[k], i);
        for (uint32_t k = 0; k < access.n_write; k++)
            touch(lives, access.writes[k], i);
    }
    if (g->logits != NULL) /* the host reads them after the step */
        touch(lives, g->logits, g->n_node);
}

static pm_status find_sizes(life *lives, const pm__graph *g, uint32_t n_row, uint32_t n_out) {
    for (uint32_t i = 0; i < g->n_activation; i++) {
        const pm__tensor *t = g->activations[i];
        if (lives[i].first > lives[i].last)
            continue; /* no node uses it */
        const uint32_t rows = t->rows == PM__ROWS_BATCH ? n_row
                              : t->rows == PM__ROWS_OUT ? n_out
                                                        : t->n_row;
        if (!pm__mul_u64((uint64_t)rows * t->n_col, sizeof(float), &lives[i].bytes))
            return pm__fail(PM_OUT_OF_MEMORY,
                            "plan: '%s' of %u rows of %u values is beyond any memory; use a "
                            "smaller batch",
                            t->name, rows, t->n_col);
    }
    return PM_OK;
}

static int by_size(const void *pa, const void *pb) {
    const life *a = pa, *b = pb;
    if (a->bytes != b->bytes)
        return a->bytes > b->bytes ? -1 : 1;
    return a->activation < b->activation ? -1 : 1;
}

static bool meet(const life *a, const life *b) {
    return a->first <= b->last && b->first <= a->last;
}

/* Puts *l into the lowest gap between those of placed[n], in order of offset, that live when it
 * does; keeps the order. */
static bool place(life **placed, uint32_t n, life *l, uint64_t alignment) {
    uint64_t offset = 0;
    for (uint32_t i = 0; i < n; i++) {
        const life *other = placed[i];
        if (!meet(l, other))
            continue;
        if (other->offset >= offset && other->offset - offset >= l->bytes)
            break;
        uint64_t after;
        if (!pm__align_u64(other->offset + other->bytes, alignment, &after))
            return false;
        if (after > offset)
            offset = after;
    }
    uint64_t end;
    if (!pm__add_u64(offset, l->bytes, &end))
        return false;
    l->offset = offset;
    uint32_t at = n;
    for (; at > 0 && placed[at - 1]->offset > offset; at--)
        placed[at] = placed[at - 1];
    placed[at] = l;
    return true;
}

static pm_status place_all(pm__plan *plan, life *lives, life **placed, uint32_t n,
                           uint64_t alignment) {
    qsort(lives, n, sizeof lives[0], by_size);
    for (uint32_t i = 0; i < n; i++) {
        life *l = &lives[i];
        if (!place(placed, i, l, alignment))
            return pm__fail(PM_OUT_OF_MEMORY, "plan: activations are beyond any memory; use a "
                                              "smaller batch");
        plan->offsets[l->activation] = l->offset;
        plan->sizes[l->activation] = l->bytes;
        if (plan->arena_bytes < l->offset + l->bytes)
            plan->arena_bytes = l->offset + l->bytes;
    }
    return PM_OK;
}

static size_t entries(const pm__graph *g) {
    return g->n_activation > 0 ? g->n_activation : 1;
}

uint64_t pm__plan_bytes(const pm__graph *g) {
    const pm__plan *plan = NULL;
    return entries(g) * (sizeof plan->offsets[0] + sizeof plan->sizes[0]);
}

pm_status pm__plan_init(pm__plan *plan, const pm__graph *g, uint32_t n_row, uint32_t n_out,
                        uint64_t alignment) {
    *plan = (pm__plan){0};
    const size_t n = entries(g);
    plan->offsets = calloc(n, sizeof plan->offsets[0]);
    plan->sizes = calloc(n, sizeof plan->sizes[0]);
    life *lives = calloc(n, sizeof *lives);
    life **placed = calloc(n, sizeof *placed);
    pm_status status = PM_OK;
    if (plan->offsets == NULL || plan->sizes == NULL || lives == NULL || placed == NULL)
        status = pm__fail_memory("plan", n * sizeof *lives);
    if (status == PM_OK) {
        find_lives(lives, g);
        status = find_sizes(lives, g, n_row, n_out);
    }
    if (status == PM_OK)
        status = place_all(plan, lives, placed, g->n_activation, alignment);
    free(lives);
    free(placed);
    if (status != PM_OK)
        pm__plan_finish(plan);
    return status;
}

void pm__plan_finish(pm__plan *plan) {
    free(plan->offsets);
    free(plan->sizes);
    *plan = (pm__plan){0};
}

uint32_t pm__limits_pages(const pm__limits *limits) {
    const uint64_t pages = pm__mul_most_u64(limits->n_seq, pm__ceil_div(limits->n_ctx, PM_PAGE));
    return pages < UINT32_MAX ? (uint32_t)pages : UINT32_MAX;
}

pm__cache_layout pm__limits_cache_layout(const pm__limits *limits, const pm__tensor *cache) {
    const uint64_t positions = pm__mul_most_u64(pm__limits_pages(limits), PM_PAGE);
    const uint64_t row = pm__type_packed_bytes(cache->type, cache->n_col);
    const uint64_t scales_row = 4 * (uint64_t)pm__type_scale_words(cache->type, cache->n_col);
    return (pm__cache_layout){.quants_row = row - scales_row,
                              .scales_row = scales_row,
                              .scales = pm__mul_most_u64(positions, row - scales_row),
                              .bytes = pm__mul_most_u64(positions, row)};
}

uint64_t pm__limits_cache_bytes(const pm__limits *limits, const pm__tensor *cache) {
    return pm__limits_cache_layout(limits, cache).bytes;
}

uint64_t pm__limits_state_bytes(const pm__limits *limits, const pm__tensor *state) {
    return pm__mul_most_u64(pm__mul_most_u64(limits->n_seq, state->n_col), sizeof(float));
}

uint64_t pm__limits_step_bytes(const pm__limits *limits, pm__step_part part) {
    switch (part) {
    case PM__STEP_ROWS:
        return pm__add_most_u64(sizeof(struct pm_step_head),
                                pm__mul_most_u64(limits->n_batch, sizeof(struct pm_step_row)));
    case PM__STEP_OUTS:
        return pm__mul_most_u64(limits->n_out, sizeof(uint32_t));
    case PM__STEP_PAGES:
        return pm__mul_most_u64(pm__limits_pages(limits), sizeof(uint32_t));
    case PM__STEP_HISTORY:
        return pm__mul_most_u64(pm__mul_most_u64(limits->n_seq, limits->n_ctx), sizeof(uint32_t));
    case PM__STEP_SAMPLERS:
        return pm__mul_most_u64(limits->n_seq, sizeof(struct pm_step_sampler));
    case PM__STEP_DRAWN:
        return pm__mul_most_u64(limits->n_out, sizeof(struct pm_step_drawn));
    case PM__STEP_RING:
        return pm__mul_most_u64(pm__mul_most_u64(PM_RING, limits->n_out),
                                sizeof(struct pm_step_drawn));
    case PM__STEP_PART_COUNT:
        break;
    }
    return 0;
}
