/* matvec.comp: y[r,o] = sum_c w[o,c] * x[r,c] + bias[o] + residual[r,o], for few rows
 * shape   x [rows, n_in] f32   y [rows, n_out] f32
 *         w [n_out, n_in], rows [first_row, first_row + n_row) of it bound
 * grid    x and z: four outputs a workgroup; y: rows
 * defines W_<TYPE>, HAS_SCALE, HAS_BIAS, HAS_RESIDUAL, TIER_SUBGROUP
 *         spec 0 WG_SIZE, 1 N_IN, 2 N_OUT, 3 N_CHUNK, 4 N_SCALE   accum f32
 * checked tests row matvec against cpu_matmul, NMSE 1e-10 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : enable
#extension GL_EXT_control_flow_attributes : enable
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_IN = 1;
layout(constant_id = 2) const uint N_OUT = 1;
layout(constant_id = 3) const uint N_CHUNK = 1;
layout(constant_id = 4) const uint N_SCALE = 0;

layout(push_constant) uniform Push { pm_push_part push; };
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 0) readonly buffer X4 { vec4 x4[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
#define W_QUANTS_BINDING 2
#define W_SCALES_BINDING 3
#include "types.glsl"
#include "epilogue.glsl"
#define REDUCE_VEC4
#include "subgroup.glsl"

/* Four elements of a row of x from element c on; zeros past its end. */
vec4 x_four(uint r, uint c) {
    vec4 four = vec4(0.0);
    if (N_IN % 4 == 0) {
        if (c < N_IN)
            four = x4[(r * N_IN + c) / 4];
    } else {
        for (uint i = 0; i < 4; i++)
            if (c + i < N_IN)
                four[i] = x[r * N_IN + c + i];
    }
    return four;
}

void main() {
    uint r = gl_WorkGroupID.y;
    uint first = (gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x) * 4;
    if (first >= push.n_row)
        return;
    vec4 sums = vec4(0.0);
    /* One turn has loads enough; some compilers unroll all of N_CHUNK and spill. */
    [[dont_unroll]] for (uint chunk = gl_LocalInvocationIndex; chunk < N_CHUNK; chunk += WG_SIZE) {
        w_raw raws[4];
        for (uint k = 0; k < 4; k++)
            raws[k] = w_load(min(first + k, push.n_row - 1), chunk, N_CHUNK, N_SCALE);
        vec4 parts = vec4(0.0);
        [[unroll]] for (uint e = 0; e < W_CHUNK; e += 4) {
            vec4 xs = x_four(r, chunk * W_CHUNK + e);
            for (uint k = 0; k < 4; k++) {
                vec4 ws = w_four(raws[k], e);
                for (uint i = 0; i < 4; i++)
                    parts[k] += ws[i] * xs[i];
            }
        }
        sums += parts;
    }
    sums = reduce_add(sums);
    uint k = gl_LocalInvocationIndex;
    if (k < 4 && first + k < push.n_row) {
        uint o = push.first_row + first + k;
        y[r * N_OUT + o] = epilogue(sums[k], r, o);
    }
}
