/* lower_coop.h: kernels for matrix units. */
#ifndef PM_GPU_LOWER_COOP_H
#define PM_GPU_LOWER_COOP_H

#include "draft.h"

/* Columns of a tile of products, and bytes of its rows of halves, as in matmul_coop.glsl. */
enum { PM__TILE_C = 32, PM__TILE_ROW_BYTES = 2 * PM__TILE_C + 16 };

static inline bool pm__divides(uint32_t part, uint32_t whole) {
    return part > 0 && whole % part == 0;
}

/* pm__lower_matmul and pm__lower_experts_matmul for kernels of the coop tiers. */
pm_status pm__lower_matmul_coop(pm__draft *d);
pm_status pm__lower_experts_coop(pm__draft *d);
/* Of the former, the constants of matrices in the coop2 tier. */
pm_status pm__shape_matmul_coop2(pm__draft *d);

/* Attention of the coop tiers: the constants after the options, and the grid. */
pm_status pm__shape_attention_coop(pm__draft *d);
/* So many queries a workgroup: heads of one key head, of as many rows as fill it; the constant
 * HEADS. */
void pm__share_keys(pm__draft *d, uint32_t n_query);

#endif
