/* params_attention.h: what of params.h the kernels of attention need. A file of its own, because
 * all text that a kernel for matrix units includes is in the key of its prebuilt SPIR-V. */
#ifndef PM_SHADERS_PARAMS_ATTENTION_H
#define PM_SHADERS_PARAMS_ATTENTION_H

#ifdef PM_GLSL
#define PM_UINT  uint
#define PM_FLOAT float
#else
#include <stdint.h>
#define PM_UINT  uint32_t
#define PM_FLOAT float
#endif

#define PM_PAGE 32u /* positions of one page of a cache */

/* STEP_ROWS: element 0 is a pm_step_head, then one pm_step_row a row. 16 bytes each. */
struct pm_step_head {
    PM_UINT n_row;
    PM_UINT n_out;
    PM_UINT step;     /* counts submitted steps; place in the ring is step % PM_RING */
    PM_UINT n_sample; /* n_out, or 0 where no token is drawn */
};

struct pm_step_row {
    PM_UINT token;
    PM_UINT seq;
    PM_UINT pos;
    PM_UINT n_pos; /* positions of its sequence after the step; 0: begin() fills it in */
};

struct pm_push_attention {
    PM_FLOAT scale, softcap, max_alibi_bias;
};

#endif
