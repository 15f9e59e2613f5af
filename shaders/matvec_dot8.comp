/* matvec_dot8.comp: y[r,o] = sum_c w[o,c] * x[r,c] + bias[o] + residual[r,o], for few rows, with x
 *         in blocks of eight-bit integers: each subgroup has outputs of its own
 * shape   x [rows, N_IN / 32 * 12] words (graph/blocks.h)   y [rows, n_out] f32
 *         w [n_out, n_in] of a type with levels (types.glsl), rows [first_row, first_row + n_row)
 *         of it bound; GATED as matvec.comp has it
 * grid    x and z: ITEMS outputs a workgroup; y: N_PASS rows
 * defines W_<TYPE>, HAS_SCALE, HAS_BIAS, HAS_RESIDUAL, GATED and GLU_<NAME>, N_PASS (1 to 8)
 *         spec 0 WG_SIZE, 1 N_IN, 2 N_OUT, 3 N_CHUNK, 4 N_SCALE   accum i32 in a block, f32
 * checked tests row matvec_dot8 against cpu_matmul over the same integers, NMSE 1e-10 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : enable
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
#include "epilogue.glsl"
#ifdef GATED
#include "glu.glsl"
const uint N_SIDE = 2, OUTS = 1; // gate and up
#else
const uint N_SIDE = 1, OUTS = N_PASS > 4 ? 1 : 2; // at a time
#endif
layout(std430, binding = 6) readonly buffer Rows { pm_step_head head; };

const uint ITEMS = 8, N_WEIGHT = OUTS * N_SIDE, N_BLOCK = N_IN / 32;

/* Integers of x that weights of one scale are multiplied with, their scale and their sum. */
struct span_x {
    uvec4 words[2];
    float scale, sum;
};

/* A block, or half of it. */
span_x load_span(uint at, uint half_n) {
    vec3 tail = uintBitsToFloat(blocks[at + 2 * N_BLOCK].xyz);
#if W_SPAN == 32
    return span_x(uvec4[2](blocks[at], blocks[at + N_BLOCK]), tail.x, tail.y + tail.z);
#else
    return span_x(uvec4[2](blocks[at + half_n * N_BLOCK], uvec4(0u)), tail.x,
                  half_n == 0 ? tail.y : tail.z);
#endif
}

/* What W_SPAN weights of a chunk come to with them. */
float product(w_raw raw, uint first, span_x x) {
    int dots = 0;
    [[unroll]] for (uint i = 0; i < W_SPAN; i += 4)
        dots += dot8(int(w_bytes(raw, first + i)), int(x.words[i / 16][i % 16 / 4]));
    float sum = w_scale(raw, first) * x.scale * float(dots);
#ifdef W_OFFSET
    sum += w_offset(raw, first) * x.sum;
#endif
    return sum;
}

/* Always true, which no compiler knows: where there are many rows, none fetches those from the
 * third on before it comes to them, so that registers suffice. */
bool goes_on(uint m) {
    return N_PASS <= 4 || m % 2 != 0 || m == 0 || push.first_row != PM_NONE - m;
}

/* OUTS outputs of the part from `first` on; outputs from `last` on are another workgroup's. */
void make(uint first, uint last, uint first_r, uint n_r) {
    float sums[N_WEIGHT][N_PASS];
    [[unroll]] for (uint k = 0; k < N_WEIGHT; k++)
        [[unroll]] for (uint m = 0; m < N_PASS; m++)
            sums[k][m] = 0.0;
    [[dont_unroll]] for (uint chunk = gl_SubgroupInvocationID; chunk < N_CHUNK;
                         chunk += gl_SubgroupSize) {
        w_raw raws[N_WEIGHT];
        [[unroll]] for (uint k = 0; k < N_WEIGHT; k++)
            raws[k] = w_load(k / OUTS * push.n_row + min(first + k % OUTS, push.n_row - 1), chunk,
                             N_CHUNK, N_SCALE);
        [[unroll]] for (uint span = 0; span < W_CHUNK; span += W_SPAN)
            [[unroll]] for (uint m = 0; m < N_PASS; m++) {
                if (!goes_on(m))
                    break;
                uint r = N_PASS == 1 ? first_r : min(first_r + m, n_r - 1);
                uint at = r * 3 * N_BLOCK + chunk * W_CHUNK / 32;
                span_x x = load_span(at, W_CHUNK == 16 ? chunk & 1 : span / 16);
                [[unroll]] for (uint k = 0; k < N_WEIGHT; k++)
                    sums[k][m] += product(raws[k], span, x);
            }
    }
    [[unroll]] for (uint k = 0; k < N_WEIGHT; k++)
        [[unroll]] for (uint m = 0; m < N_PASS; m++)
            sums[k][m] = subgroupAdd(sums[k][m]);
    [[unroll]] for (uint k = 0; k < OUTS; k++)
        [[unroll]] for (uint m = 0; m < N_PASS; m++) {
            uint o = push.first_row + first + k, r = first_r + m;
            bool mine = gl_SubgroupInvocationID == (k * N_PASS + m) % gl_SubgroupSize;
            if (mine && first + k < last && (m == 0 || r < n_r)) {
#ifdef GATED
                y[r * N_OUT + o] = glu_of(epilogue(sums[k][m], r, o),
                                          epilogue(sums[OUTS + k][m], r, N_OUT + o));
#else
                y[r * N_OUT + o] = epilogue(sums[k][m], r, o);
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
