/* group.comp: y[i,e] = r * n_used + u, the place in which the i-th row that chose expert e chose
 *         it; -1 where fewer rows did
 * shape   route [rows, 2 * n_used] f32   y [rows, n_expert] f32
 * grid    x: one workgroup an expert; all rows
 * defines none   spec 0 WG_SIZE, 1 N_EXPERT, 2 N_USED   accum none
 * checked tests row group against cpu_group, exact */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : enable
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_EXPERT = 1;
layout(constant_id = 2) const uint N_USED = 1;

layout(std430, binding = 0) readonly buffer Route { float route[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
layout(std430, binding = 2) readonly buffer Rows { pm_step_head head; };

shared uint ends[WG_SIZE];

/* Which choice of the row the expert is; N_USED if it is none. */
uint slot_of(uint r, uint expert) {
    for (uint u = 0; u < N_USED; u++)
        if (uint(route[r * 2 * N_USED + u]) == expert)
            return u;
    return N_USED;
}

void main() {
    uint expert = gl_WorkGroupID.x, me = gl_LocalInvocationIndex, n_row = head.n_row;
    uint run = (n_row + WG_SIZE - 1) / WG_SIZE; // rows of an invocation, neighbours
    uint first = me * run, end = min(first + run, n_row), mine = 0;
    for (uint r = first; r < end; r++)
        mine += uint(slot_of(r, expert) < N_USED);
    ends[me] = mine;
    barrier();
    [[dont_unroll]] for (uint step = 1; step < WG_SIZE; step *= 2) {
        uint before = me >= step ? ends[me - step] : 0;
        barrier();
        ends[me] += before;
        barrier();
    }
    uint i = ends[me] - mine;
    for (uint r = first; r < end; r++) {
        uint u = slot_of(r, expert);
        if (u < N_USED) {
            y[i * N_EXPERT + expert] = float(r * N_USED + u);
            i++;
        }
    }
    for (uint j = ends[WG_SIZE - 1] + me; j < n_row; j += WG_SIZE)
        y[j * N_EXPERT + expert] = -1.0;
}
