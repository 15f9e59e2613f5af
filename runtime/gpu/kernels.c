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

const pm__kernel *pm__kernel_choose(const pm__caps *caps, pm__op op, uint32_t n_row) {
    const pm__kernel *best = NULL;
    for (size_t i = 0; i < PM__COUNT(kernels); i++) {
        const pm__kernel *kernel = &kernels[i];
        const bool fits = kernel->op == op && caps->tiers[kernel->tier] &&
                          kernel->least_rows <= n_row &&
                          (kernel->most_rows == 0 || n_row <= kernel->most_rows);
        if (fits && (best == NULL || kernel->tier > best->tier))
            best = kernel;
    }
    return best;
}
