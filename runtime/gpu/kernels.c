#include "kernels.h"

static const pm__kernel kernels[] = {
#define PM_KERNEL(name, OP, TIER, file, from, workgroup, rows, items)                              \
    {#name, file, PM__OP_##OP, PM__TIER_##TIER, from, workgroup, rows, items},
#include "../../shaders/kernels.def"
#undef PM_KERNEL
};

const pm__kernel *pm__kernel_table(size_t *n) {
    *n = PM__COUNT(kernels);
    return kernels;
}

_Static_assert(PM__COUNT(kernels) <= 64, "pm__caps.quarantined has a bit a kernel");

bool pm__kernel_fits(const pm__caps *caps, const pm__kernel *kernel, pm__op op) {
    return kernel->op == op && caps->tiers[kernel->tier];
}

/* One that is best from more rows than there are comes last, and least so the nearest to them. */
static bool is_better(const pm__kernel *a, const pm__kernel *b, uint32_t n_row) {
    const bool a_suits = a->from_rows <= n_row, b_suits = b->from_rows <= n_row;
    if (a_suits != b_suits)
        return a_suits;
    if (a->from_rows != b->from_rows)
        return (a->from_rows > b->from_rows) == a_suits;
    return a->tier > b->tier;
}

const pm__kernel *pm__kernel_choose(const pm__caps *caps, pm__op op, uint32_t n_row) {
    const pm__kernel *best = NULL;
    for (size_t i = 0; i < PM__COUNT(kernels); i++) {
        const pm__kernel *kernel = &kernels[i];
        const bool trusted = (caps->quarantined >> i & 1) == 0;
        if (trusted && pm__kernel_fits(caps, kernel, op) &&
            (best == NULL || is_better(kernel, best, n_row)))
            best = kernel;
    }
    return best;
}
