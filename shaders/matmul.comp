/* matmul.comp: y[r,o] = sum_c w[o,c] * x[r,c] + bias[o] + residual[r,o], for many rows
 * shape   x [rows, n_in] f32   y [rows, n_out] f32
 *         w [n_out, n_in], rows [first_row, first_row + n_row) of it bound
 * grid    x and z: 64 outputs a workgroup; y: TILE_R rows. WG_SIZE is 128, each makes TILE_R / 8 x
 *         4 of y
 * defines W_<TYPE>, HAS_SCALE, HAS_BIAS, HAS_RESIDUAL, TILE_R (32 or 64)
 *         spec 0 WG_SIZE, 1 N_IN, 2 N_OUT, 3 N_CHUNK, 4 N_SCALE   accum f32
 * checked tests row matmul against cpu_matmul, NMSE 1e-10 */
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

uint n_r() {
    return push.outs == 0 ? head.n_row : head.n_out;
}

uint first_o() {
    return (gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x) * 64;
}

uint tile_x_row(uint i) {
    uint r = gl_WorkGroupID.y * TILE_R + i;
    return r < n_r() ? r : PM_NONE;
}

uint tile_w_row(uint j) {
    return first_o() + j;
}

#include "tile.glsl"

void main() {
    if (first_o() >= push.n_row)
        return;
    vec4 sums[TILE_SUMS];
    tile_multiply(sums);
    [[unroll]] for (uint i = 0; i < TILE_SUMS; i++)
        [[unroll]] for (uint j = 0; j < 4; j++) {
            uint r = gl_WorkGroupID.y * TILE_R + tile_r(i), o = first_o() + tile_o() + j;
            if (r < n_r() && o < push.n_row)
                y[r * N_OUT + push.first_row + o] = epilogue(sums[i][j], r, push.first_row + o);
        }
}
