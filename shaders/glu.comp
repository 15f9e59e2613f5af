/* glu.comp: y = f(gate, up)
 * shape   gate, up, y [rows, n_col] f32
 * grid    x: WG_SIZE columns; y: rows
 * defines GLU_<NAME> (graph/functions.def)   spec 0 WG_SIZE, 1 N_COL   accum none
 * checked tests row glu against cpu_glu, NMSE 1e-10
 * source  arXiv:2002.05202 eq. 6 */
#version 450
#extension GL_GOOGLE_include_directive : require
layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 1;

layout(std430, binding = 0) readonly buffer Gate { float gate[]; };
layout(std430, binding = 1) readonly buffer Up { float up[]; };
layout(std430, binding = 2) writeonly buffer Y { float y[]; };
#include "glu.glsl"

void main() {
    uint c = gl_WorkGroupID.x * WG_SIZE + gl_LocalInvocationIndex;
    uint i = gl_WorkGroupID.y * N_COL + c;
    if (c < N_COL)
        y[i] = glu_of(gate[i], up[i]);
}
