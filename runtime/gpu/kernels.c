#include "kernels.h"

static const pm__kernel kernels[] = {
#define PM_KERNEL(name, OP, TIER, file, least, most, workgroup, rows, items)                       \
    {#name, file, PM__OP_##OP, PM__TIER_##TIER, least, most, workgroup, rows, items},
#include "../../shaders/kernels.def"
#undef PM_KERNEL
};

const pm__kernel *pm__kernel_table(size_t *n) {
    *n = PM__COUNT(kernels);
    return kernels;
}

_Static_assert(PM__COUNT(kernels) <= 64, "pm__caps.quarantined has a bit a kernel");

bool pm__kernel_fits(const pm__caps *caps, const pm__kernel *kernel, pm__op op, uint32_t n_row) {
    return kernel->op == op && caps->tiers[kernel->tier] && kernel->least_rows <= n_row &&
           (kernel->most_rows == 0 || n_row <= kernel->most_rows);
}

const pm__kernel *pm__kernel_choose(const pm__caps *caps, pm__op op, uint32_t n_row) {
    const pm__kernel *best = NULL;
    for (size_t i = 0; i < PM__COUNT(kernels); i++) {
        const pm__kernel *kernel = &kernels[i];
        const bool fits = pm__kernel_fits(caps, kernel, op, n_row);
        const bool trusted = (caps->quarantined >> i & 1) == 0;
        if (fits && trusted && (best == NULL || kernel->tier > best->tier))
            best = kernel;
    }
    return best;
}
