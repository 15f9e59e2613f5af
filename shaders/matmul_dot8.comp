/* matmul_dot8.comp: y[r,o] = sum_c w[o,c] * x[r,c] + bias[o] + residual[r,o], for many rows, with x
 *         in blocks of eight-bit integers
 * shape   as matvec_dot8.comp has it, without gates
 * grid    x and z: 64 outputs a workgroup; y: TILE_R rows. WG_SIZE is 128, each makes TILE_R / 8 x
 *         4 of y
 * tile    a turn takes a block of each row of x and as much of the weight through shared memory,
 *         word after word, as tile.glsl does column after column; what the next turn needs is on
 *         its way while this one is multiplied
 * defines W_<TYPE>, HAS_SCALE, HAS_BIAS, HAS_RESIDUAL, TILE_R (32 or 64)
 *         spec 0 WG_SIZE, 1 N_IN, 2 N_OUT, 3 N_CHUNK, 4 N_SCALE   accum i32 in a block, f32
 * checked tests row matmul_dot8 against cpu_matmul over the same integers, NMSE 1e-10 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : enable
#extension GL_EXT_spirv_intrinsics : require
#define PM_GLSL
#include "params.h"
#include "dot8.glsl"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 128;
layout(constant_id = 1) const uint N_IN = 32;
layout(constant_id = 2) const uint N_OUT = 1;
layout(constant_id = 3) const uint N_CHUNK = 1;
layout(constant_id = 4) const uint N_SCALE = 0;

layout(push_constant) uniform Push { pm_push_part push; };
layout(std430, binding = 0) readonly buffer Blocks { uvec4 blocks[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
#define W_QUANTS_BINDING 2
#define W_SCALES_BINDING 3
#include "types.glsl"
#include "signed.glsl"
#include "epilogue.glsl"
layout(std430, binding = 6) readonly buffer Rows { pm_step_head head; };

const uint TILE_O = 64, N_BLOCK = N_IN / 32, N_SUM = TILE_R / 8;
const uint N_SPAN = 32 / SIGNED_SPAN; // of a block

/* Integers of word k of a row are at place (row / 4) ^ k, so that banks do not clash. */
shared ivec4 x_tile[8 * TILE_R / 4], w_tile[8 * TILE_O / 4];
shared vec4 x_scale[TILE_R / 4], x_sum[2 * TILE_R / 4];
shared vec4 unit[2 * TILE_O / 4], offset[2 * TILE_O / 4];

/* Half a block of a row of x, and its scale and sums; and half a block of a row of the weight. */
struct turn {
    uvec4 xs;
    vec3 tail;
    w_raw raw;
};

turn load(uint x_row, uint w_row, uint block) {
    uint half_n = gl_LocalInvocationIndex % 2, at = x_row * 3 * N_BLOCK + block;
    turn t;
    t.xs = blocks[at + half_n * N_BLOCK];
    t.tail = uintBitsToFloat(blocks[at + 2 * N_BLOCK].xyz);
    t.raw = w_load(w_row, block * 32 / W_CHUNK + (W_CHUNK == 16 ? half_n : 0), N_CHUNK, N_SCALE);
    return t;
}

void store(turn t) {
    uint half_n = gl_LocalInvocationIndex % 2, row = gl_LocalInvocationIndex / 2;
    uint first = W_CHUNK == 16 ? 0 : 16 * half_n; // element of the chunk
    [[unroll]] for (uint k = 0; k < 4; k++) {
        uint word = 4 * half_n + k;
        if (row < TILE_R)
            x_tile[word * (TILE_R / 4) + (row / 4 ^ word)][row % 4] = int(t.xs[k]);
        w_tile[word * (TILE_O / 4) + (row / 4 ^ word)][row % 4] =
            int(w_signed(t.raw, first + 4 * k));
    }
    if (row < TILE_R) {
        x_scale[row / 4][row % 4] = t.tail.x;
        x_sum[half_n * (TILE_R / 4) + row / 4][row % 4] =
            N_SPAN == 1 ? t.tail.y + t.tail.z : half_n == 0 ? t.tail.y : t.tail.z;
    }
    unit[half_n * (TILE_O / 4) + row / 4][row % 4] = w_scale(t.raw, first);
#ifdef SIGNED_OFFSET
    offset[half_n * (TILE_O / 4) + row / 4][row % 4] = w_offset(t.raw, first);
#endif
}

void multiply(uint my_r, uint my_o, inout vec4 sums[N_SUM]) {
    [[dont_unroll]] for (uint span = 0; span < N_SPAN; span++) {
        ivec4 dots[N_SUM];
        [[unroll]] for (uint i = 0; i < N_SUM; i++)
            dots[i] = ivec4(0);
        [[dont_unroll]] for (uint k = 0; k < SIGNED_SPAN / 4; k++) {
            uint word = span * (SIGNED_SPAN / 4) + k;
            ivec4 ws = w_tile[word * (TILE_O / 4) + (my_o ^ word)];
            [[unroll]] for (uint i = 0; i < N_SUM; i++) {
                int four = x_tile[word * (TILE_R / 4) + i / 4 * 8 + (my_r ^ word)][i % 4];
                [[unroll]] for (uint j = 0; j < 4; j++)
                    dots[i][j] += dot8(ws[j], four);
            }
        }
        vec4 units = unit[span * (TILE_O / 4) + my_o];
        [[unroll]] for (uint i = 0; i < N_SUM; i++) {
            uint at = i / 4 * 8 + my_r;
            sums[i] += units * x_scale[at][i % 4] * vec4(dots[i]);
#ifdef SIGNED_OFFSET
            sums[i] += offset[span * (TILE_O / 4) + my_o] * x_sum[span * (TILE_R / 4) + at][i % 4];
#endif
        }
    }
}

void main() {
    uint n_r = push.outs == 0 ? head.n_row : head.n_out, first_r = gl_WorkGroupID.y * TILE_R;
    uint first_o = (gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x) * TILE_O;
    uint me = gl_LocalInvocationIndex, my_r = me / 16, my_o = me % 16; // of four rows each
    if (first_o >= push.n_row)
        return;
    uint x_row = min(first_r + me / 2, n_r - 1), w_row = min(first_o + me / 2, push.n_row - 1);
    vec4 sums[N_SUM];
    [[unroll]] for (uint i = 0; i < N_SUM; i++)
        sums[i] = vec4(0.0);
    turn next = load(x_row, w_row, 0);
    [[dont_unroll]] for (uint block = 0; block < N_BLOCK; block++) {
        barrier();
        store(next);
        barrier();
        next = load(x_row, w_row, min(block + 1, N_BLOCK - 1));
        multiply(my_r, my_o, sums);
    }
    [[unroll]] for (uint i = 0; i < N_SUM; i++)
        [[unroll]] for (uint j = 0; j < 4; j++) {
            uint r = first_r + i / 4 * 32 + my_r * 4 + i % 4, o = first_o + my_o * 4 + j;
            if (r < n_r && o < push.n_row)
                y[r * N_OUT + push.first_row + o] = epilogue(sums[i][j], r, push.first_row + o);
        }
}
