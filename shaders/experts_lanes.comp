/* experts_lanes.comp: y[r,u,o] = (sum_c w[e,o,c] * x[r,u,c]) * scale[e] + bias[e,o] with e the u-th
 *         expert of row r, for few rows, on drivers that run on the CPU (matvec_lanes.comp says
 *         why)
 * shape   as experts_matvec.comp has it
 * grid    x: OUTS * WG_SIZE outputs a workgroup; y: rows; z: slots. What is not in the bound part
 *         is left alone
 * defines W_<TYPE>, HAS_ROUTE, HAS_BIAS, HAS_SCALE
 *         spec 0 WG_SIZE, 1 N_IN, 2 N_OUT, 3 N_CHUNK, 4 N_SCALE, 5 N_EXPERT, 6 N_SLOT, 7 X_SLOTS
 *         (slots of x: 1 or N_SLOT)   accum f32
 * checked tests row experts_lanes against cpu_experts_matmul, NMSE 1e-10 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : enable
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 16;
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
#include "slots.glsl"

const uint OUTS = 4;
const uint N_WEIGHT = OUTS;
#define N_PASS 1
#include "lanes.glsl"

void main() {
    uint r = gl_WorkGroupID.y, slot = gl_WorkGroupID.z, place = r * N_SLOT + slot;
    uint expert = expert_of(r, slot), first = gl_WorkGroupID.x * (OUTS * WG_SIZE);
    if (!in_part(expert, first, OUTS * WG_SIZE))
        return;
    uint mine = first + gl_LocalInvocationIndex;
    uint x_rows[1], w_rows[OUTS];
    x_rows[0] = X_SLOTS == 1 ? r : place;
    [[unroll]] for (uint k = 0; k < OUTS; k++)
        w_rows[k] = min(row_in_part(expert, mine + k * WG_SIZE), push.n_row - 1);
    float sums[OUTS][1], scales[1];
    multiply(x_rows, w_rows, sums, scales);
    [[unroll]] for (uint k = 0; k < OUTS; k++) {
        uint o = mine + k * WG_SIZE;
        if (o < N_OUT && row_in_part(expert, o) < push.n_row)
            y[place * N_OUT + o] = epilogue(sums[k][0], expert, o);
    }
}
