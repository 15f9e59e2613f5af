/* wkv7_bonus.comp: out = y + (sum over the head of r * k * w) * v
 * shape   y, r, k, v, out [rows, n_col] f32   w [n_col] f32
 * grid    x: heads; y: rows
 * defines TIER_SUBGROUP   spec 0 WG_SIZE, 1 N_COL, 2 HEAD_DIM   accum f32
 * checked tests row wkv7_bonus against cpu_wkv7_bonus, NMSE 1e-10
 * source  arXiv:2503.14456 eq. 20 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : enable
#extension GL_EXT_control_flow_attributes : enable
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 1;
layout(constant_id = 2) const uint HEAD_DIM = 1;

layout(std430, binding = 0) readonly buffer Y { float y[]; };
layout(std430, binding = 1) writeonly buffer Out { float result[]; };
layout(std430, binding = 2) readonly buffer R { float r[]; };
layout(std430, binding = 3) readonly buffer K { float k[]; };
layout(std430, binding = 4) readonly buffer V { float v[]; };
layout(std430, binding = 5) readonly buffer W { float w[]; };
#include "subgroup.glsl"

void main() {
    uint first = gl_WorkGroupID.x * HEAD_DIM, row = gl_WorkGroupID.y * N_COL;
    float sum = 0.0;
    for (uint i = gl_LocalInvocationIndex; i < HEAD_DIM; i += WG_SIZE)
        sum += r[row + first + i] * k[row + first + i] * w[first + i];
    sum = reduce_add(sum);
    for (uint i = gl_LocalInvocationIndex; i < HEAD_DIM; i += WG_SIZE)
        result[row + first + i] = y[row + first + i] + sum * v[row + first + i];
}
