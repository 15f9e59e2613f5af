/* binary.comp: y = a + b or a * b, where b has a number for each element, row or column, or for all
 * shape   a, y [rows, n_col] f32   b read at r * B_ROW + c * B_COL
 * grid    x: WG_SIZE columns; y: rows
 * defines BINARY_ADD or BINARY_MUL   spec 0 WG_SIZE, 1 N_COL, 2 B_ROW, 3 B_COL   accum none
 * checked tests rows add and mul against cpu_add and cpu_mul, NMSE 1e-12 */
#version 450
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 1;
layout(constant_id = 2) const uint B_ROW = 0;
layout(constant_id = 3) const uint B_COL = 0;

layout(std430, binding = 0) readonly buffer A { float a[]; };
layout(std430, binding = 1) readonly buffer B { float b[]; };
layout(std430, binding = 2) writeonly buffer Y { float y[]; };

void main() {
    uint c = gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationIndex;
    uint i = gl_WorkGroupID.y * N_COL + c, j = gl_WorkGroupID.y * B_ROW + c * B_COL;
    if (c < N_COL)
#ifdef BINARY_ADD
        y[i] = a[i] + b[j];
#else
        y[i] = a[i] * b[j];
#endif
}
