/* select.comp: y[i,:] = x[row of output i,:]
 * shape   x [rows, n_col]   y [outs, n_col], words moved unread
 * grid    x: WG_SIZE columns; y: outputs
 * defines none   spec 0 WG_SIZE, 1 N_COL   accum none
 * checked tests row select against cpu_select, exact */
#version 450
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 1;

layout(std430, binding = 0) readonly buffer X { uint x[]; };
layout(std430, binding = 1) readonly buffer Outs { uint outs[]; };
layout(std430, binding = 2) writeonly buffer Y { uint y[]; };

void main() {
    uint c = gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationIndex, i = gl_WorkGroupID.y;
    if (c < N_COL)
        y[i * N_COL + c] = x[outs[i] * N_COL + c];
}
