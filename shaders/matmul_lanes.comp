/* matmul_lanes.comp: y[r,o] = sum_c w[o,c] * x[r,c] + bias[o] + residual[r,o], for many rows on
 *         drivers that run on the CPU
 * shape   x [rows, n_in] f32   y [rows, n_out] f32
 *         w [n_out, n_in], rows [first_row, first_row + n_row) of it bound
 * grid    x and z: 64 outputs a workgroup; y: N_PASS rows. WG_SIZE is 8, each makes N_PASS x 8
 *         of y
 * defines W_<TYPE>, HAS_SCALE, HAS_BIAS, HAS_RESIDUAL, N_PASS (1 to 12); REST: the rows behind
 *         the last whole eight, or with it where N_PASS is more than that (lower.h)
 *         spec 0 WG_SIZE, 1 N_IN, 2 N_OUT, 3 N_CHUNK, 4 N_SCALE   accum f32
 * checked tests row matmul_lanes against cpu_matmul, NMSE 1e-10 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : enable
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 8;
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
#include "product.glsl"
layout(std430, binding = 6) readonly buffer Rows { pm_step_head head; };

const uint LANE_R = N_PASS;
#include "lanes_tile.glsl"

void main() {
    uint n_r = push.outs == 0 ? head.n_row : head.n_out;
#ifdef REST
    uint first_r = (n_r / 8 - uint(N_PASS > 8)) * 8;
#else
    uint first_r = gl_WorkGroupID.y * LANE_R;
#endif
    uint first_o = (gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x) * WG_SIZE * LANE_O;
    uint my_o = first_o + gl_LocalInvocationIndex; // and every WG_SIZEth after it
    if (first_o >= push.n_row)
        return;
    uint x_rows[LANE_R], w_rows[LANE_O];
    [[unroll]] for (uint i = 0; i < LANE_R; i++)
        x_rows[i] = min(first_r + i, n_r - 1);
    [[unroll]] for (uint j = 0; j < LANE_O; j++)
        w_rows[j] = min(my_o + j * WG_SIZE, push.n_row - 1);
    float sums[LANE_R * LANE_O];
    multiply(x_rows, w_rows, sums);
    [[unroll]] for (uint i = 0; i < LANE_R; i++)
        [[unroll]] for (uint j = 0; j < LANE_O; j++) {
            uint r = first_r + i, o = my_o + j * WG_SIZE;
            if (r < n_r && o < push.n_row)
                y[r * N_OUT + push.first_row + o] =
                    epilogue(sums[i * LANE_O + j], r, push.first_row + o);
        }
}
