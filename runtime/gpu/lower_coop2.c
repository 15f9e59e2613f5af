/* lower_coop2.c: products with matrix units, through matrices of any size: what one of them is. */
#include "lower_coop.h"

/* As GLSL's gl_ScopeWorkgroup and gl_ScopeSubgroup. */
typedef enum scope { WORKGROUP = 2, SUBGROUP = 3 } scope;

typedef struct tiling {
    scope scope;
    uint32_t k;
    uint32_t subs_r, subs_o; /* matrices along rows and outputs */
} tiling;

/* Rows and columns that are read for a column of a matrix. */
static uint32_t reads_of(const pm__kernel *kernel, const tiling *t) {
    return kernel->group_rows / t->subs_r + kernel->group_items / t->subs_o;
}

/* With so many tiles, beside what the driver takes. */
static bool has_room(const pm__draft *d, scope of, uint32_t n_buffer) {
    const pm__kernel *kernel = d->kernel;
    const uint32_t has = d->in->gpu->properties.limits.maxComputeSharedMemorySize;
    const uint32_t taken = of == WORKGROUP ? d->in->gpu->caps.units.coop2_shared : 0;
    const uint32_t tile = (kernel->group_rows + kernel->group_items) * PM__TILE_ROW_BYTES;
    return n_buffer * tile + (kernel->group_rows + 1) * 8 + 4 + taken <= has;
}

static bool has_size(const pm__draft *d, const tiling *t, const pm__shape *grain) {
    const uint32_t most = d->in->gpu->caps.units.coop2_most;
    const uint32_t m = d->kernel->group_rows / t->subs_r, n = d->kernel->group_items / t->subs_o;
    return pm__divides(grain->m, m) && pm__divides(grain->n, n) &&
           pm__divides(grain->k, PM__TILE_C) && t->k % 8 == 0 && m <= most && n <= most &&
           has_room(d, t->scope, 1);
}

/* One of the workgroup where it can share one, as deep as its tile; those of subgroups are less
 * deep, so that drivers have less to unroll. */
static bool choose_tiling(const pm__draft *d, tiling *out) {
    const pm__caps *caps = &d->in->gpu->caps;
    const uint32_t n_sub = d->kernel->workgroup / caps->subgroup_min;
    const pm__shape *grain = &caps->units.coop2_grain;
    *out = (tiling){.scope = WORKGROUP, .k = PM__TILE_C, .subs_r = 1, .subs_o = 1};
    if (caps->units.coop2_workgroup == d->kernel->workgroup &&
        has_size(d, out, &caps->units.coop2_workgroup_grain))
        return true;
    *out = (tiling){.scope = SUBGROUP};
    for (uint32_t subs_r = 1; subs_r <= n_sub; subs_r *= 2) {
        const tiling t = {SUBGROUP, grain->k, subs_r, n_sub / subs_r};
        if (has_size(d, &t, grain) &&
            (out->subs_r == 0 || reads_of(d->kernel, &t) < reads_of(d->kernel, out)))
            *out = t;
    }
    return out->subs_r > 0;
}

pm_status pm__shape_matmul_coop2(pm__draft *d) {
    tiling t;
    if (!choose_tiling(d, &t))
        return pm__fail(PM_UNSUPPORTED,
                        "lower: node '%s': no matrices of %s divide the tile of kernel '%s'; "
                        "'pumice check' puts it into quarantine",
                        d->node->name, d->in->gpu->info.name, d->kernel->name);
    pm__spec(d, d->kernel->group_rows / t.subs_r);
    pm__spec(d, d->kernel->group_items / t.subs_o);
    pm__spec(d, t.k);
    pm__spec(d, t.subs_r);
    pm__spec(d, t.subs_o);
    pm__spec(d, has_room(d, t.scope, 2) ? 2 : 1);
    pm__spec(d, t.scope);
    return PM_OK;
}
