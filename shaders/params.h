/* params.h: what C and GLSL share: layouts of the step buffer and push constants. Included by both;
 * only 4-byte scalars, so std430 and C agree. */
#ifndef PM_SHADERS_PARAMS_H
#define PM_SHADERS_PARAMS_H

#include "params_attention.h"
#include "params_coop.h"

#define PM_RING 16u /* steps the ring of drawn tokens holds */
#define PM_NONE 0xffffffffu

/* STEP_OUTS: [n_out] uint, batch row of each output.
 * STEP_PAGES: [n_seq][ceil(n_ctx / PM_PAGE)] uint.
 * STEP_HISTORY: [n_seq][n_ctx] uint, token at each position.
 * STEP_SAMPLERS: [n_seq] pm_step_sampler. */
struct pm_step_sampler {
    PM_FLOAT temperature;
    PM_UINT top_k;
    PM_FLOAT top_p;
    PM_FLOAT min_p;
    PM_FLOAT repeat_penalty;
    PM_FLOAT presence_penalty;
    PM_FLOAT frequency_penalty;
    PM_UINT repeat_last_n;
    PM_UINT seed_lo;
    PM_UINT seed_hi;
    PM_UINT reserved0;
    PM_UINT reserved1;
};

/* STEP_DRAWN: [n_out]; STEP_RING: [PM_RING][n_out capacity] of the same. */
struct pm_step_drawn {
    PM_UINT token;
    PM_UINT logits_hash;
    PM_UINT step;
    PM_UINT row;
};

/* Push constants, one struct an operation that has any. Sizes are specialisation constants instead.
 */
struct pm_push_part { /* embed, matvec, matmul: rows [first_row, first_row + n_row) of the weight
                         are bound */
    PM_UINT first_row;
    PM_UINT n_row;
    PM_UINT outs; /* rows of x: 0 the n_row of the step's head, 1 its n_out */
    PM_FLOAT eps; /* of a product whose x is normed */
};

struct pm_push_norm {
    PM_FLOAT eps;
};

struct pm_push_unary {
    PM_FLOAT a, b;
};

struct pm_push_temper {
    PM_FLOAT scale;
};

#define PM_ROPE_POWERS 8 /* n_rot / 2 < 2^8 */
/* Fixed-point fractions of 64 bits, high word first. */
struct pm_push_rope {
    PM_UINT turn_hi, turn_lo; /* freq_scale / 2 pi: turns a position of the first pair */
    PM_UINT power_hi[PM_ROPE_POWERS], power_lo[PM_ROPE_POWERS]; /* (freq_base^(-2/n_rot))^(2^j) */
    PM_FLOAT scale;                                             /* of cosine and sine */
    PM_FLOAT eps;                                               /* PREPARE: of the norm of heads */
};

struct pm_push_route {
    PM_FLOAT scale;
};

#endif
