/* matvec_rows.comp: y[r,o] = sum_c w[o,c] * x[r,c] + bias[o] + residual[r,o], for few rows: each
 *         subgroup has outputs of its own
 * shape   as matvec.comp has it
 * grid    x and z: ITEMS outputs a workgroup; y: N_PASS rows
 * defines W_<TYPE>, HAS_SCALE, HAS_BIAS, HAS_RESIDUAL, HAS_NORM, HAS_NORM_WEIGHT, GATED and
 *         GLU_<NAME>, N_PASS (1 to 8)
 *         spec 0 WG_SIZE, 1 N_IN, 2 N_OUT, 3 N_CHUNK, 4 N_SCALE, 5 AT_ONCE   accum f32
 * checked tests row matvec_rows against cpu_matmul, NMSE 1e-10 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : enable
#extension GL_EXT_control_flow_attributes : enable
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 128;
layout(constant_id = 1) const uint N_IN = 1;
layout(constant_id = 2) const uint N_OUT = 1;
layout(constant_id = 3) const uint N_CHUNK = 1;
layout(constant_id = 4) const uint N_SCALE = 0;
layout(constant_id = 5) const uint AT_ONCE = 64;

layout(push_constant) uniform Push { pm_push_part push; };
layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 0) readonly buffer X4 { vec4 x4[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
#define W_QUANTS_BINDING 2
#define W_SCALES_BINDING 3
#include "types.glsl"
#include "epilogue.glsl"
#include "product.glsl"
layout(std430, binding = 6) readonly buffer Rows { pm_step_head head; };

const uint ITEMS = 8, OUTS = N_PASS > 4 ? 1 : 2; // at a time
const uint N_WEIGHT = OUTS * N_SIDE; // rows of the weight a subgroup reads
#include "subgroup_rows.glsl"

/* OUTS outputs of the part from `first` on; outputs from `last` on are another workgroup's. */
void make(uint first, uint last, uint first_r, uint n_r) {
    uint x_rows[N_PASS], w_rows[N_WEIGHT];
    [[unroll]] for (uint m = 0; m < N_PASS; m++)
        x_rows[m] = N_PASS == 1 ? first_r : min(first_r + m, n_r - 1);
    [[unroll]] for (uint k = 0; k < N_WEIGHT; k++)
        w_rows[k] = k / OUTS * push.n_row + min(first + k % OUTS, push.n_row - 1);
    float sums[N_WEIGHT][N_PASS], scales[N_PASS];
    multiply(x_rows, w_rows, sums, scales);
    [[unroll]] for (uint k = 0; k < OUTS; k++)
        [[unroll]] for (uint m = 0; m < N_PASS; m++) {
            uint o = push.first_row + first + k, r = first_r + m;
            bool mine = gl_SubgroupInvocationID == (k * N_PASS + m) % gl_SubgroupSize;
            if (mine && first + k < last && (m == 0 || r < n_r)) {
#ifdef GATED
                y[r * N_OUT + o] = glu_of(epilogue(scales[m] * sums[k][m], r, o),
                                          epilogue(scales[m] * sums[OUTS + k][m], r, N_OUT + o));
#else
                y[r * N_OUT + o] = epilogue(scales[m] * sums[k][m], r, o);
#endif
            }
        }
}

void main() {
    uint n_r = push.outs == 0 ? head.n_row : head.n_out;
    uint first = (gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x) * ITEMS;
    uint last = min(first + ITEMS, push.n_row);
    for (uint o = first + gl_SubgroupID * OUTS; o < last; o += gl_NumSubgroups * OUTS)
        make(o, last, gl_WorkGroupID.y * N_PASS, n_r);
}
