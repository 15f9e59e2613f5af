/* temper.comp: y = x * (1 + scale * ln(floor((position + ahead) / original) + 1))
 * shape   x, y [rows, n_col] f32
 * grid    x: WG_SIZE columns; y: rows
 * defines none   spec 0 WG_SIZE, 1 N_COL, 2 ORIGINAL, 3 AHEAD   accum none
 * checked tests row temper against cpu_temper, NMSE 1e-10
 * source  llama 4 and ministral 3: queries grow sharper far into a context */
#version 450
#extension GL_GOOGLE_include_directive : require
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 1;
layout(constant_id = 2) const uint ORIGINAL = 1;
layout(constant_id = 3) const uint AHEAD = 0;

layout(push_constant) uniform Push { pm_push_temper push; };
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) readonly buffer Rows {
    pm_step_head head;
    pm_step_row rows[];
};
layout(std430, binding = 2) writeonly buffer Y { float y[]; };

void main() {
    uint c = gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationIndex, r = gl_WorkGroupID.y;
    uint turns = (rows[r].pos + AHEAD) / ORIGINAL;
    float scale = turns == 0 ? 1.0 : 1.0 + push.scale * log(float(turns + 1));
    if (c < N_COL)
        y[r * N_COL + c] = x[r * N_COL + c] * scale;
}
