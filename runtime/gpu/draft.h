/* draft.h: one launch in the making, for the files that lower operations (lower_*.c). Each
 * operation has a function pm__lower_<name>, which fills bindings, constants and what the grid
 * follows from; lower.c does the rest. */
#ifndef PM_GPU_DRAFT_H
#define PM_GPU_DRAFT_H

#include "lower.h"

typedef enum pm__binding_use { PM__UNUSED = 0, PM__READ = 1, PM__WRITE = 2 } pm__binding_use;

typedef struct pm__draft {
    const pm__lowering *in;
    const pm__node *node;
    const pm__kernel *kernel;
    const pm__weight_part *part; /* of the node's matrix; NULL for operations without one */
    uint32_t piece; /* rows of a group of this of the node's pieces (lower.h); 0: it has none */
    pm__pipeline_desc desc;
    pm__dispatch dispatch;
    pm__grid grid;
    uint32_t n_item;  /* along x */
    uint32_t n_layer; /* along z; 0: nothing is */
    bool wraps;       /* more items than the device takes along x go on along z */
} pm__draft;

#define PM_OP(NAME, name, matrix, nmse, what) pm_status pm__lower_##name(pm__draft *d);
#include "../graph/ops.def"
#undef PM_OP

/* Bindings, in order from 0. `how` is a union of pm__binding_use. */
void pm__bind_region(pm__draft *d, pm__region region, unsigned how);
void pm__bind(pm__draft *d, const pm__tensor *t, unsigned how);
/* An optional input keeps its number when it is absent, through a binding that the shader does not
 * have. */
void pm__bind_option(pm__draft *d, const pm__tensor *t, const char *define);
/* The same where a constant of the shader tells, not a define. */
void pm__bind_other(pm__draft *d, const pm__tensor *t);
/* The planes of the matrix part, and W_<TYPE>. */
void pm__bind_matrix(pm__draft *d, const pm__tensor *w);
pm__region pm__place_of(const pm__draft *d, const pm__tensor *t);

void pm__define(pm__draft *d, const char *text);
/* "W_F16" */
void pm__define_type(pm__draft *d, const char *prefix, const pm__tensor *t);
/* "UNARY_GELU" from "UNARY" and "gelu" */
void pm__define_name(pm__draft *d, const char *prefix, const char *name);

/* Specialisation constants, from 1; 0 is the workgroup. */
void pm__spec(pm__draft *d, uint32_t value);
/* What w_load() needs to know of the planes of a row. */
void pm__spec_planes(pm__draft *d, const pm__tensor *w);
/* Products that an invocation may have in hand (own_rows.glsl). */
void pm__spec_at_once(pm__draft *d);
/* Makes the workgroup no wider than n items keep busy, but not narrower than a subgroup. */
void pm__narrow(pm__draft *d, uint32_t n);

/* Makes a group of such a kernel of as many rows as a step can bring; N_PASS. */
void pm__pass(pm__draft *d);

void pm__push(pm__draft *d, const void *words, size_t n_byte);
/* pm_push_part, of the matrix part. */
void pm__push_part(pm__draft *d, pm__row_count rows);

#endif
