/* rmsnorm.comp: y[r,c] = x[r,c] * rsqrt(mean(x[r,:]^2) + eps) * w[c]
 * shape   x, y [rows, n_col] f32   w [n_col] f32
 * grid    y: one workgroup a row
 * defines TIER_SUBGROUP   spec 0 WG_SIZE, 1 N_COL   accum f32
 * checked tests row rmsnorm against cpu_rmsnorm, NMSE 1e-10
 * source  arXiv:1910.07467 eq. 4 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : enable
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 128;
layout(constant_id = 1) const uint N_COL = 1;

layout(push_constant) uniform Push { pm_push_rmsnorm push; };
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
layout(std430, binding = 2) readonly buffer W { float w[]; };
#include "subgroup.glsl"

void main() {
    uint base = gl_WorkGroupID.y * N_COL;
    float squares = 0.0;
    for (uint c = gl_LocalInvocationIndex; c < N_COL; c += WG_SIZE)
        squares += x[base + c] * x[base + c];
    float scale = inversesqrt(reduce_add(squares) / float(N_COL) + push.eps);
    for (uint c = gl_LocalInvocationIndex; c < N_COL; c += WG_SIZE)
        y[base + c] = x[base + c] * scale * w[c];
}
