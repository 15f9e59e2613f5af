/* experts_matmul.comp: y[r,u,o] = (sum_c w[e,o,c] * x[r,u,c]) * scale[e] + bias[e,o] with e the
 *         u-th expert of row r, for many rows: the rows of an expert together
 * shape   as experts_matvec.comp has it; groups [rows, n_expert] f32 as group.comp makes it,
 *         without which slot u is expert u
 * grid    x: 64 outputs a workgroup; y: 32 rows of an expert; z: experts. WG_SIZE is 128, each
 *         makes 4 x 4 of y. Workgroups past the rows of their expert, or whose outputs are not in
 *         the bound part, end at once
 * defines W_<TYPE>, HAS_ROUTE, HAS_BIAS, HAS_SCALE
 *         spec 0 WG_SIZE, 1 N_IN, 2 N_OUT, 3 N_CHUNK, 4 N_SCALE, 5 N_EXPERT, 6 N_SLOT, 7 X_SLOTS
 *         (slots of x: 1 or N_SLOT)   accum f32
 * checked tests row experts_matmul against cpu_experts_matmul, NMSE 1e-10 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : enable
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 128;
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
layout(std430, binding = 7) readonly buffer Rows { pm_step_head head; };
#include "groups.glsl"

#define TILE_R 32
shared uint places[TILE_R]; // row of y of each row of the tile; PM_NONE past the expert's last

uint tile_x_row(uint i) {
    uint place = places[i];
    return place == PM_NONE || X_SLOTS != 1 ? place : place / N_SLOT;
}

uint tile_w_row(uint j) {
    uint o = gl_WorkGroupID.x * 64 + j;
    return o < N_OUT ? row_in_part(gl_WorkGroupID.z, o) : PM_NONE;
}

#include "tile.glsl"

void main() {
    uint me = gl_LocalInvocationIndex, expert = gl_WorkGroupID.z;
    uint first_o = gl_WorkGroupID.x * TILE_O;
    if (!in_part(expert, first_o, TILE_O))
        return;
    if (me < TILE_R)
        places[me] = place_of(gl_WorkGroupID.y * TILE_R + me, expert);
    barrier();
    if (places[0] == PM_NONE)
        return;
    vec4 sums[TILE_SUMS];
    tile_multiply(sums);
    [[unroll]] for (uint i = 0; i < TILE_SUMS; i++)
        [[unroll]] for (uint j = 0; j < 4; j++) {
            uint place = places[tile_r(i)], o = first_o + tile_o() + j;
            if (place != PM_NONE && tile_w_row(tile_o() + j) < push.n_row)
                y[place * N_OUT + o] = epilogue(sums[i][j], expert, o);
        }
}
