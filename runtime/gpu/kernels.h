/* kernels.h: the table of kernels (shaders/kernels.def) and the choice among them. */
#ifndef PM_GPU_KERNELS_H
#define PM_GPU_KERNELS_H

#include "device.h"

typedef struct pm__kernel {
    const char *name, *file;
    pm__op op;
    pm__tier tier;
    uint32_t least_rows, most_rows; /* most 0: any */
    uint32_t workgroup;
    uint32_t group_rows, group_items;
} pm__kernel;

const pm__kernel *pm__kernel_table(size_t *n);

/* Whether the device has the tier and the kernel takes n_row rows of the operation. */
bool pm__kernel_fits(const pm__caps *caps, const pm__kernel *kernel, pm__op op, uint32_t n_row);

/* Of those that fit and are not in quarantine the kernel of the highest tier, or NULL. */
const pm__kernel *pm__kernel_choose(const pm__caps *caps, pm__op op, uint32_t n_row);

#endif
