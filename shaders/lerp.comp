/* lerp.comp: y = a + (b - a) * w
 * shape   a, b, y [rows, n_col] f32   w [n_col], or like a with ROWS
 * grid    x: WG_SIZE columns; y: rows
 * defines ROWS   spec 0 WG_SIZE, 1 N_COL   accum f32
 * checked tests row lerp against cpu_lerp, NMSE 1e-12 */
#version 450

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 1;

layout(std430, binding = 0) readonly buffer A { float a[]; };
layout(std430, binding = 1) readonly buffer B { float b[]; };
layout(std430, binding = 2) readonly buffer W { float w[]; };
layout(std430, binding = 3) writeonly buffer Y { float y[]; };

void main() {
    uint c = gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationIndex;
    uint i = gl_WorkGroupID.y * N_COL + c;
    if (c >= N_COL)
        return;
#ifdef ROWS
    y[i] = a[i] + (b[i] - a[i]) * w[i];
#else
    y[i] = a[i] + (b[i] - a[i]) * w[c];
#endif
}
