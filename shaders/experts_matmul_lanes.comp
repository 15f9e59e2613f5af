/* experts_matmul_lanes.comp: y[r,u,o] = (sum_c w[e,o,c] * x[r,u,c]) * scale[e] + bias[e,o] with e
 *         the u-th expert of row r, for many rows on drivers that run on the CPU: the rows of
 *         an expert together
 * shape   as experts_matmul.comp has it
 * grid    x: 64 outputs a workgroup; y: 32 rows of an expert; z: experts. WG_SIZE is 8, each makes
 *         8 x 8 of y at a time. Workgroups past the rows of their expert, or whose outputs are not
 *         in the bound part, end at once
 * defines W_<TYPE>, HAS_ROUTE, HAS_BIAS, HAS_SCALE
 *         spec 0 WG_SIZE, 1 N_IN, 2 N_OUT, 3 N_CHUNK, 4 N_SCALE, 5 N_EXPERT, 6 N_SLOT, 7 X_SLOTS
 *         (slots of x: 1 or N_SLOT)   accum f32
 * checked tests row experts_matmul_lanes against cpu_experts_matmul, NMSE 1e-10 */
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
#include "product.glsl"
const uint LANE_R = 8;
#include "lanes_tile.glsl"
layout(std430, binding = 7) readonly buffer Rows { pm_step_head head; };
#include "groups.glsl"

const uint GROUP_R = 32;

void main() {
    uint expert = gl_WorkGroupID.z, first_o = gl_WorkGroupID.x * WG_SIZE * LANE_O;
    uint my_o = first_o + gl_LocalInvocationIndex; // and every WG_SIZEth after it
    if (!in_part(expert, first_o, WG_SIZE * LANE_O))
        return;
    uint w_rows[LANE_O];
    [[unroll]] for (uint j = 0; j < LANE_O; j++)
        w_rows[j] = min(row_in_part(expert, my_o + j * WG_SIZE), push.n_row - 1);
    [[dont_unroll]] for (uint first = 0; first < GROUP_R; first += LANE_R) {
        uint places[LANE_R], x_rows[LANE_R];
        [[unroll]] for (uint i = 0; i < LANE_R; i++) {
            places[i] = place_of(gl_WorkGroupID.y * GROUP_R + first + i, expert);
            uint place = places[i] != PM_NONE ? places[i] : places[0];
            x_rows[i] = X_SLOTS == 1 ? place / N_SLOT : place;
        }
        if (places[0] == PM_NONE)
            return;
        float sums[LANE_R * LANE_O];
        multiply(x_rows, w_rows, sums);
        [[unroll]] for (uint i = 0; i < LANE_R; i++)
            [[unroll]] for (uint j = 0; j < LANE_O; j++) {
                uint o = my_o + j * WG_SIZE;
                if (places[i] != PM_NONE && o < N_OUT && row_in_part(expert, o) < push.n_row)
                    y[places[i] * N_OUT + o] = epilogue(sums[i * LANE_O + j], expert, o);
            }
    }
}
