/* slice.comp: y[r, g*n + i] = x[r, g*stride + first + i]
 * shape   x [rows, n_group * stride]   y [rows, n_group * n], words moved unread
 * grid    x: WG_SIZE columns of y; y: rows
 * defines none   spec 0 WG_SIZE, 1 N_COL (of y), 2 N_IN (columns of x), 3 STRIDE, 4 FIRST, 5 N
 * accum   none
 * checked tests row slice against cpu_slice, exact */
#version 450
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 1;
layout(constant_id = 2) const uint N_IN = 1;
layout(constant_id = 3) const uint STRIDE = 1;
layout(constant_id = 4) const uint FIRST = 0;
layout(constant_id = 5) const uint N = 1;

layout(std430, binding = 0) readonly buffer X { uint x[]; };
layout(std430, binding = 1) writeonly buffer Y { uint y[]; };

void main() {
    uint c = gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationIndex, r = gl_WorkGroupID.y;
    if (c < N_COL)
        y[r * N_COL + c] = x[r * N_IN + c / N * STRIDE + FIRST + c % N];
}
