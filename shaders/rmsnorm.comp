/* rmsnorm.comp: y[r,c] = x[r,c] * rsqrt(mean(x[r,:]^2) + eps) * w[c]
 * shape   x, y [rows, n_col] f32   w [n_col] f32
 * grid    y: one workgroup a row
 * defines TIER_SUBGROUP   spec 0 WG_SIZE, 1 N_COL   accum f32
 * checked tests row rmsnorm against cpu_rmsnorm, NMSE 1e-10
 * source  arXiv:1910.07467 eq. 4 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : enable
#extension GL_EXT_control_flow_attributes : enable
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 128;
layout(constant_id = 1) const uint N_COL = 1;

layout(push_constant) uniform Push { pm_push_rmsnorm push; };
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 0) readonly buffer X4 { vec4 x4[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
layout(std430, binding = 1) writeonly buffer Y4 { vec4 y4[]; };
layout(std430, binding = 2) readonly buffer W { float w[]; };
layout(std430, binding = 2) readonly buffer W4 { vec4 w4[]; };
#include "subgroup.glsl"

/* Four vectors at a time: enough loads on their way at once, and short code however long a row. */
const uint N_VEC = N_COL / 4, STEP = 4 * WG_SIZE;

bool in_row(uint c) {
    return N_VEC % STEP == 0 || c < N_VEC;
}

float squares(uint r, uint me) {
    if (N_COL % 4 != 0) {
        float sum = 0.0;
        for (uint c = me; c < N_COL; c += WG_SIZE)
            sum += x[r * N_COL + c] * x[r * N_COL + c];
        return sum;
    }
    vec4 sums = vec4(0.0);
    [[dont_unroll]] for (uint first = me; first < N_VEC; first += STEP)
        for (uint c = first; c < first + STEP; c += WG_SIZE)
            if (in_row(c))
                sums += x4[r * N_VEC + c] * x4[r * N_VEC + c];
    return (sums.x + sums.y) + (sums.z + sums.w);
}

void main() {
    uint r = gl_WorkGroupID.y, me = gl_LocalInvocationIndex;
    float scale = inversesqrt(reduce_add(squares(r, me)) / float(N_COL) + push.eps);
    if (N_COL % 4 != 0) {
        for (uint c = me; c < N_COL; c += WG_SIZE)
            y[r * N_COL + c] = x[r * N_COL + c] * scale * w[c];
        return;
    }
    [[dont_unroll]] for (uint first = me; first < N_VEC; first += STEP)
        for (uint c = first; c < first + STEP; c += WG_SIZE)
            if (in_row(c))
                y4[r * N_VEC + c] = x4[r * N_VEC + c] * scale * w4[c];
}
