/* experts_matvec.comp: y[r,u,o] = (sum_c w[e,o,c] * x[r,u,c]) * scale[e] + bias[e,o] with e the
 *         u-th expert of row r, for few rows
 * shape   x [rows, n_in] or [rows, n_slot, n_in] f32   y [rows, n_slot, n_out] f32
 *         w [n_expert, n_out, n_in], rows [first_row, first_row + n_row) of n_expert * n_out bound
 *         route [rows, 2 * n_slot] f32, without which slot u is expert u
 *         bias [n_expert * n_out], scale [n_expert] f32
 * grid    x: four outputs a workgroup; y: rows; z: slots. What is not in the bound part is left
 *         alone
 * defines W_<TYPE>, HAS_ROUTE, HAS_BIAS, HAS_SCALE, TIER_SUBGROUP
 *         spec 0 WG_SIZE, 1 N_IN, 2 N_OUT, 3 N_CHUNK, 4 N_SCALE, 5 N_EXPERT, 6 N_SLOT, 7 X_SLOTS
 *         (slots of x: 1 or N_SLOT)   accum f32
 * checked tests row experts_matvec against cpu_experts_matmul, NMSE 1e-10 */
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
layout(constant_id = 5) const uint N_EXPERT = 1;
layout(constant_id = 6) const uint N_SLOT = 1;
layout(constant_id = 7) const uint X_SLOTS = 1;

layout(push_constant) uniform Push { pm_push_part push; };
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 0) readonly buffer X4 { vec4 x4[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
#define W_QUANTS_BINDING 2
#define W_SCALES_BINDING 3
#include "types.glsl"
#include "experts.glsl"
#include "slots.glsl"
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
    uint r = gl_WorkGroupID.y, slot = gl_WorkGroupID.z, place = r * N_SLOT + slot;
    uint expert = expert_of(r, slot), first = gl_WorkGroupID.x * 4;
    if (!in_part(expert, first, 4))
        return;
    uint x_row = X_SLOTS == 1 ? r : place;
    vec4 sums = vec4(0.0);
    /* One turn has loads enough; some compilers unroll all of N_CHUNK and spill. */
    [[dont_unroll]] for (uint chunk = gl_LocalInvocationIndex; chunk < N_CHUNK; chunk += WG_SIZE) {
        w_raw raws[4];
        for (uint k = 0; k < 4; k++)
            raws[k] = w_load(min(row_in_part(expert, first + k), push.n_row - 1), chunk, N_CHUNK,
                             N_SCALE);
        vec4 parts = vec4(0.0);
        [[unroll]] for (uint e = 0; e < W_CHUNK; e += 4) {
            vec4 xs = x_four(x_row, chunk * W_CHUNK + e);
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
    if (k < 4 && first + k < N_OUT && row_in_part(expert, first + k) < push.n_row)
        y[place * N_OUT + first + k] = epilogue(sums[k], expert, first + k);
}
