/* shift.comp: y[r,:] = x[r-1,:] of the same sequence; before the first row of a step, the state
 * shape   x, y [rows, n_col] f32   state [sequences, n_col] f32
 * grid    x: WG_SIZE columns; y: rows. The workgroup of a run's first row renews the state
 * defines none   spec 0 WG_SIZE, 1 N_COL   accum none
 * checked tests row shift against cpu_shift, exact
 * source  arXiv:2305.13048 sec. 3.1.1 */
#version 450
#extension GL_GOOGLE_include_directive : require
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 1;

layout(std430, binding = 0) readonly buffer X { uint x[]; };
layout(std430, binding = 1) writeonly buffer Y { uint y[]; };
layout(std430, binding = 2) buffer State { uint state[]; };
layout(std430, binding = 3) readonly buffer Rows {
    pm_step_head head;
    pm_step_row rows[];
};
#include "recurrent.glsl"

void main() {
    uint r = gl_WorkGroupID.y, c = gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationIndex;
    if (c >= N_COL)
        return;
    uint seq = rows[r].seq;
    if (r > 0 && rows[r - 1].seq == seq) {
        y[r * N_COL + c] = x[(r - 1) * N_COL + c];
        return;
    }
    y[r * N_COL + c] = rows[r].pos == 0 ? 0u : state[seq * N_COL + c];
    state[seq * N_COL + c] = x[(r + run_length(r) - 1) * N_COL + c];
}
