/* matmul.comp: y[r,o] = sum_c w[o,c] * x[r,c] + bias[o] + residual[r,o], for many rows
 * shape   x [rows, n_in] f32   y [rows, n_out] f32
 *         w [n_out, n_in], rows [first_row, first_row + n_row) of it bound
 * grid    x and z: 64 outputs a workgroup; y: 32 rows. WG_SIZE is 128, each makes 4 x 4 of y
 * defines W_<TYPE>, HAS_SCALE, HAS_BIAS, HAS_RESIDUAL
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
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
#define W_QUANTS_BINDING 2
#define W_SCALES_BINDING 3
#include "types.glsl"
#include "epilogue.glsl"
layout(std430, binding = 6) readonly buffer Rows { pm_step_head head; };

const uint TILE_R = 32, TILE_O = 64, TILE_C = 32;
const uint STRIDE = TILE_C + 1; // odd, so that a column is spread over banks
shared float x_tile[TILE_R * STRIDE];
shared float w_tile[TILE_O * STRIDE];

void load_x(uint first_r, uint n_r, uint first_c) {
    for (uint i = gl_LocalInvocationIndex; i < TILE_R * TILE_C; i += WG_SIZE) {
        uint r = first_r + i / TILE_C, c = first_c + i % TILE_C;
        float v = 0.0;
        if (r < n_r && c < N_IN)
            v = x[r * N_IN + c];
        x_tile[(i / TILE_C) * STRIDE + i % TILE_C] = v;
    }
}

void load_w(uint first_o, uint first_c) {
    const uint n = TILE_C / W_CHUNK;
    for (uint i = gl_LocalInvocationIndex; i < TILE_O * n; i += WG_SIZE) {
        uint o = first_o + i / n, chunk = first_c / W_CHUNK + i % n;
        bool inside = o < push.n_row && chunk < N_CHUNK;
        w_raw raw = w_load(min(o, push.n_row - 1), min(chunk, N_CHUNK - 1), N_CHUNK, N_SCALE);
        [[unroll]] for (uint e = 0; e < W_CHUNK; e += 4) {
            vec4 four = inside ? w_four(raw, e) : vec4(0.0);
            for (uint k = 0; k < 4; k++)
                w_tile[(i / n) * STRIDE + (i % n) * W_CHUNK + e + k] = four[k];
        }
    }
}

void main() {
    uint n_r = push.outs == 0 ? head.n_row : head.n_out;
    uint first_r = gl_WorkGroupID.y * TILE_R;
    uint first_o = (gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x) * TILE_O;
    uint my_r = gl_LocalInvocationIndex / 16; // and every 8th after it
    uint my_o = gl_LocalInvocationIndex % 16; // and every 16th after it
    if (first_o >= push.n_row)
        return;
    vec4 sums[4] = vec4[4](vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
    for (uint first_c = 0; first_c < N_IN; first_c += TILE_C) {
        load_x(first_r, n_r, first_c);
        load_w(first_o, first_c);
        barrier();
        vec4 parts[4] = vec4[4](vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
        for (uint c = 0; c < TILE_C; c++) {
            vec4 ws;
            for (uint j = 0; j < 4; j++)
                ws[j] = w_tile[(my_o + 16 * j) * STRIDE + c];
            for (uint i = 0; i < 4; i++)
                parts[i] += x_tile[(my_r + 8 * i) * STRIDE + c] * ws;
        }
        for (uint i = 0; i < 4; i++)
            sums[i] += parts[i];
        barrier();
    }
    for (uint i = 0; i < 4; i++)
        for (uint j = 0; j < 4; j++) {
            uint r = first_r + my_r + 8 * i, o = first_o + my_o + 16 * j;
            if (r < n_r && o < push.n_row)
                y[r * N_OUT + push.first_row + o] = epilogue(sums[i][j], r, push.first_row + o);
        }
}
