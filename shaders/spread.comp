/* spread.comp: y[r,u,c] = weight[r,u] * x[r,c]
 * shape   x [rows, n_col] f32   route [rows, 2 * n_used] f32   y [rows, n_used, n_col] f32
 * grid    x: WG_SIZE columns; y: rows
 * defines none   spec 0 WG_SIZE, 1 N_COL, 2 N_USED   accum none
 * checked tests row spread against cpu_spread, NMSE 1e-12 */
#version 450
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 1;
layout(constant_id = 2) const uint N_USED = 1;

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
layout(std430, binding = 2) readonly buffer Route { float route[]; };

void main() {
    uint r = gl_WorkGroupID.y, c = gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationIndex;
    if (c >= N_COL)
        return;
    float v = x[r * N_COL + c];
    for (uint u = 0; u < N_USED; u++)
        y[(r * N_USED + u) * N_COL + c] = v * route[r * 2 * N_USED + N_USED + u];
}
