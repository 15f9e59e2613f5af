/* concat.comp: y[r, g*(n_a + n_b) + i] = a[r, g*n_a + i], then columns of b
 * shape   a [rows, n_group * n_a]   b [rows, n_group * n_b or n_b]
 *         y [rows, n_group * (n_a + n_b)], words moved unread
 * grid    x: WG_SIZE columns of y; y: rows
 * defines none   spec 0 WG_SIZE, 1 N_COL (of y), 2 A_COLS, 3 B_COLS (columns of a and b), 4 N_A,
 *         5 N_B, 6 B_STRIDE (N_B, or 0: one group of b for all)   accum none
 * checked tests row concat against cpu_concat, exact */
#version 450
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 1;
layout(constant_id = 2) const uint A_COLS = 1;
layout(constant_id = 3) const uint B_COLS = 1;
layout(constant_id = 4) const uint N_A = 1;
layout(constant_id = 5) const uint N_B = 1;
layout(constant_id = 6) const uint B_STRIDE = 0;

layout(std430, binding = 0) readonly buffer A { uint a[]; };
layout(std430, binding = 1) readonly buffer B { uint b[]; };
layout(std430, binding = 2) writeonly buffer Y { uint y[]; };

void main() {
    uint c = gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationIndex, r = gl_WorkGroupID.y;
    if (c >= N_COL)
        return;
    uint group = c / (N_A + N_B), i = c % (N_A + N_B);
    uint word = i < N_A ? a[r * A_COLS + group * N_A + i]
                        : b[r * B_COLS + group * B_STRIDE + i - N_A];
    y[r * N_COL + c] = word;
}
