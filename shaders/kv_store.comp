/* kv_store.comp: cache[page(seq, pos), :] = x[r,:]
 * shape   x [rows, n_col]   cache [pages * PM_PAGE, n_col], words moved unread
 * grid    x: WG_SIZE columns; y: rows. A position past the context is dropped
 * defines none   spec 0 WG_SIZE, 1 N_COL, 2 N_CTX   accum none
 * checked tests row kv_store against cpu_kv_store, exact
 * source  arXiv:2309.06180 for the block table */
#version 450
#extension GL_GOOGLE_include_directive : require
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 1;
layout(constant_id = 2) const uint N_CTX = 1;

layout(std430, binding = 0) readonly buffer X { uint x[]; };
layout(std430, binding = 1) writeonly buffer Cache { uint cache[]; };
layout(std430, binding = 2) readonly buffer Rows {
    pm_step_head head;
    pm_step_row rows[];
};
layout(std430, binding = 3) readonly buffer Pages { uint pages[]; };

void main() {
    uint c = gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationIndex, r = gl_WorkGroupID.y;
    uint pos = rows[r].pos;
    if (c >= N_COL || pos >= N_CTX)
        return;
    uint page = pages[rows[r].seq * ((N_CTX + PM_PAGE - 1) / PM_PAGE) + pos / PM_PAGE];
    cache[(page * PM_PAGE + pos % PM_PAGE) * N_COL + c] = x[r * N_COL + c];
}
