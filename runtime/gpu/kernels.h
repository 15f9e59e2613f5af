/* kernels.h: the table of kernels (shaders/kernels.def) and the choice among them. */
#ifndef PM_GPU_KERNELS_H
#define PM_GPU_KERNELS_H

#include "device.h"

typedef struct pm__kernel {
    const char *name, *file;
    pm__op op;
    pm__tier tier;
    uint32_t from_rows; /* the number from which it is best */
    uint32_t workgroup;
    uint32_t group_rows, group_items;
} pm__kernel;

const pm__kernel *pm__kernel_table(size_t *n);

/* Whether the device has the tier of this kernel of the operation. */
bool pm__kernel_fits(const pm__caps *caps, const pm__kernel *kernel, pm__op op);

/* The best one for n_row rows of those that fit and are not in quarantine, or NULL. */
const pm__kernel *pm__kernel_choose(const pm__caps *caps, pm__op op, uint32_t n_row);

#endif
