/* mix.comp: y[r,o] = sum_u weight[r,u] * x[r,u,o] + residual[r,o]
 * shape   x [rows, n_used, n_col], residual, y [rows, n_col] f32
 *         route [rows, 2 * n_used] f32, without which all weights are 1
 * grid    x: WG_SIZE columns; y: rows
 * defines HAS_ROUTE, HAS_RESIDUAL   spec 0 WG_SIZE, 1 N_COL, 2 N_USED   accum f32, u ascending
 * checked tests row mix against cpu_mix, NMSE 1e-11 */
#version 450
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 1;
layout(constant_id = 2) const uint N_USED = 1;

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
#ifdef HAS_ROUTE
layout(std430, binding = 2) readonly buffer Route { float route[]; };
#endif
#ifdef HAS_RESIDUAL
layout(std430, binding = 3) readonly buffer Residual { float residual[]; };
#endif

void main() {
    uint r = gl_WorkGroupID.y, c = gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationIndex;
    if (c >= N_COL)
        return;
    float sum = 0.0;
    for (uint u = 0; u < N_USED; u++) {
        float v = x[(r * N_USED + u) * N_COL + c];
#ifdef HAS_ROUTE
        v *= route[r * 2 * N_USED + N_USED + u];
#endif
        sum += v;
    }
#ifdef HAS_RESIDUAL
    sum += residual[r * N_COL + c];
#endif
    y[r * N_COL + c] = sum;
}
