/* params_coop.h: push constants of kernels for matrix units. A file of its own, because all text
 * that such a shader includes is in the key of its prebuilt SPIR-V. */
#ifndef PM_SHADERS_PARAMS_COOP_H
#define PM_SHADERS_PARAMS_COOP_H

#ifdef PM_GLSL
#define PM_COOP_UINT uint
#else
#include <stdint.h>
#define PM_COOP_UINT uint32_t
#endif

/* Of products with matrix units, whose sizes are no constants: a pipeline serves all matrices of a
 * type. */
struct pm_push_coop {
    PM_COOP_UINT first_row, n_row, outs; /* as in pm_push_part */
    PM_COOP_UINT n_in, n_out;
    PM_COOP_UINT n_chunk, n_scale; /* of a row of the weight's planes */
    PM_COOP_UINT options;          /* 1 bias, 2 residual or groups of experts, 4 scale */
    PM_COOP_UINT n_expert, n_slot; /* of experts */
    PM_COOP_UINT x_slots;          /* slots of x: 1 or n_slot */
};

#endif
