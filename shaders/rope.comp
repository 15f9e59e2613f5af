/* rope.comp: rotates pairs of each head by position * frequency
 * shape   x, y [rows, n_head * head_dim] f32   factors [n_rot / 2] f32
 * grid    x: WG_SIZE pairs of a row; y: rows
 * defines HAS_FACTORS   spec 0 WG_SIZE, 1 N_COL, 2 HEAD_DIM, 3 N_ROT,
 *         4 HALVES (1: pairs (i, i + n_rot/2), 0: pairs (2i, 2i+1))
 * accum   as rope.glsl says
 * checked tests row rope against cpu_rope, NMSE 1e-9
 * source  arXiv:2104.09864 eq. 34 */
#version 450
#extension GL_GOOGLE_include_directive : require
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 2;
layout(constant_id = 2) const uint HEAD_DIM = 2;
layout(constant_id = 3) const uint N_ROT = 2;
layout(constant_id = 4) const uint HALVES = 0;

layout(push_constant) uniform Push { pm_push_rope push; };
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
layout(std430, binding = 2) readonly buffer Rows {
    pm_step_head head;
    pm_step_row rows[];
};
#define FACTORS_BINDING 3
#include "rope.glsl"

void main() {
    uint pair = gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationIndex;
    if (pair >= N_COL / 2)
        return;
    uint r = gl_WorkGroupID.y, i = pair % (HEAD_DIM / 2);
    uint head_at = r * N_COL + pair / (HEAD_DIM / 2) * HEAD_DIM;
    bool halves = HALVES != 0 && i < N_ROT / 2;
    uint a = head_at + (halves ? i : 2 * i), b = halves ? a + N_ROT / 2 : a + 1;
    vec2 v = turned(vec2(x[a], x[b]), rows[r].pos, i, N_ROT / 2);
    y[a] = v.x;
    y[b] = v.y;
}
