/* lower_coop_attention.c: attention with matrix units: how many queries share a workgroup, and how
 * its matrices are laid out over its subgroups. */
#include "lower_coop.h"

#include "../base/checked.h"

enum { LEAST = 16, MOST = 64, WORKGROUP = 128, MOST_SHARED = 40960 };

typedef struct layout {
    pm__shape shape;
    uint32_t n_query;
    uint32_t subs_q, subs_d; /* subgroups along queries and along columns of values */
    uint32_t each_q, each_d; /* matrices of results of a subgroup */
} layout;

static uint32_t odd(uint32_t n) {
    return n | 1u;
}

/* As attention_coop.comp declares it. */
static uint32_t shared_bytes(const pm__draft *d, const layout *l) {
    enum { MOST_HELD = 8 };
    const uint32_t n_sub = l->subs_q * l->subs_d, along = PM_PAGE / l->shape.n;
    const uint32_t wide = (uint32_t)pm__round_up(d->node->params.attention.head_dim, l->shape.k);
    const uint32_t deep = (uint32_t)pm__round_up(d->node->params.attention.head_dim_v, l->shape.n);
    const uint32_t each = pm__ceil_div(l->n_query / l->shape.m * along, n_sub);
    const uint32_t rows = each < along ? 1 : each / along;
    const uint32_t put = n_sub * l->shape.m * l->shape.n / 4;
    const uint32_t page = PM_PAGE * odd((wide > deep ? wide : deep) / 8);
    const uint32_t queries = l->n_query * odd(wide / 8);
    const uint32_t used = (page > put ? page : put) + l->n_query * (PM_PAGE / 4 + 1);
    const bool held = wide / l->shape.k * rows <= MOST_HELD;
    const uint32_t all = !held ? used + queries : used > queries ? used : queries;
    return 16 * (all + l->n_query) + 4 * (l->n_query + WORKGROUP);
}

/* Few matrices a subgroup, then few reads for them. */
static bool is_better(const layout *a, const layout *b) {
    const uint32_t n_a = a->each_q * a->each_d, n_b = b->each_q * b->each_d;
    return b->subs_q == 0 || n_a < n_b ||
           (n_a == n_b && a->each_q + a->each_d < b->each_q + b->each_d);
}

/* False where subgroups cannot share the queries. */
static bool lay_out(const pm__draft *d, layout *l) {
    const uint32_t n_sub = WORKGROUP / d->in->gpu->caps.subgroup_min;
    const uint32_t blocks = l->n_query / l->shape.m;
    layout best = {.subs_q = 0};
    for (uint32_t subs_q = 1; subs_q <= n_sub && pm__divides(l->shape.m * subs_q, l->n_query);
         subs_q *= 2) {
        layout t = *l;
        t.subs_q = subs_q;
        t.subs_d = n_sub / subs_q;
        t.each_q = blocks / subs_q;
        t.each_d =
            pm__ceil_div(pm__ceil_div(d->node->params.attention.head_dim_v, l->shape.n), t.subs_d);
        if (is_better(&t, &best))
            best = t;
    }
    if (best.subs_q > 0)
        *l = best;
    return best.subs_q > 0;
}

/* As many queries as registers and shared memory hold, whatever the size of the batch, which bits
 * may not depend on. */
static bool try_shape(const pm__draft *d, const pm__shape *shape, layout *out) {
    const uint32_t has = d->in->gpu->properties.limits.maxComputeSharedMemorySize;
    const uint32_t head_dim_v = d->node->params.attention.head_dim_v;
    if (!pm__divides(shape->n, PM_PAGE) || !pm__divides(shape->k, PM_PAGE) || shape->k % 8 != 0 ||
        shape->n % 8 != 0)
        return false;
    uint32_t n_query = MOST;
    while (n_query > LEAST && n_query * head_dim_v > MOST * 128)
        n_query /= 2;
    for (; n_query >= LEAST; n_query /= 2) {
        layout l = {.shape = *shape, .n_query = n_query};
        if (pm__divides(shape->m, n_query) &&
            n_query * d->in->gpu->caps.subgroup_min >= WORKGROUP && lay_out(d, &l) &&
            shared_bytes(d, &l) <= pm__least_u32(has, MOST_SHARED)) {
            *out = l;
            return true;
        }
    }
    return false;
}

static pm_status choose_layout(const pm__draft *d, layout *out) {
    const pm__shapes *shapes = &d->in->gpu->caps.units.shapes[PM__SHAPES_F16_F32];
    uint32_t size = 0;
    *out = (layout){.subs_q = 0};
    for (uint32_t i = 0; i < shapes->n; i++) {
        const pm__shape *s = &shapes->items[i];
        if (s->m * s->n * s->k > size && try_shape(d, s, out))
            size = s->m * s->n * s->k;
    }
    if (size > 0)
        return PM_OK;
    return pm__fail(PM_UNSUPPORTED,
                    "lower: node '%s': none of the cooperative matrices of %s divides the tile of "
                    "kernel '%s'; 'pumice check' puts it into quarantine",
                    d->node->name, d->in->gpu->info.name, d->kernel->name);
}

pm_status pm__shape_attention_coop(pm__draft *d) {
    layout l;
    PM_TRY(choose_layout(d, &l));
    pm__share_keys(d, l.n_query);
    pm__spec(d, l.n_query);
    pm__spec(d, l.shape.m);
    pm__spec(d, l.shape.n);
    pm__spec(d, l.shape.k);
    pm__spec(d, l.subs_q);
    pm__spec(d, l.subs_d);
    return PM_OK;
}
