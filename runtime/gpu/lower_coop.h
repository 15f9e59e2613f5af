/* lower_coop.h: products with matrix units. */
#ifndef PM_GPU_LOWER_COOP_H
#define PM_GPU_LOWER_COOP_H

#include "draft.h"

/* pm__lower_matmul for kernels of the coop tiers. */
pm_status pm__lower_matmul_coop(pm__draft *d);

#endif
