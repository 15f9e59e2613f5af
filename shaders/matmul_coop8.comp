/* matmul_coop8.comp: y[r,o] = sum_c w[o,c] * x[r,c] * scale + bias[o] + residual[r,o], for many
 *         rows, with x in blocks of eight-bit integers, and matrix units that multiply such
 * shape   as matvec_dot8.comp has it, without gates; any number of blocks
 * grid    x and z: TILE_O outputs a workgroup; y: TILE_R rows. A subgroup makes MR x MO matrices
 *         M x N of y; two blocks at a time are in shared memory, the next are fetched meanwhile
 * spans   columns that share a scale, SIGNED_SPAN of them: their dots become floats at once. Where
 *         K is larger, or to try that, SPREAD has zeros between the halves of a block of x: then a
 *         matrix of all columns of a block multiplies one half alone
 * defines W_<TYPE>; all else is a constant or pushed, so that there is one SPIR-V file a type
 *         spec 0 WG_SIZE, 1 TILE_R, 2 TILE_O, 3 M, 4 N, 5 K (8, 16 or 32), 6 SUBS_R, 7 SUBS_O
 *         (subgroups along rows and outputs), 8 SPREAD
 * accum   i32 in a span, which is exact; f32
 * checked tests row matmul_coop8 against cpu_matmul over the same integers, NMSE 1e-10 */
#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : enable
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_EXT_shader_explicit_arithmetic_types_int8 : require
#define PM_GLSL
#include "params_coop.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 128;
layout(constant_id = 1) const uint TILE_R = 64;
layout(constant_id = 2) const uint TILE_O = 128;
layout(constant_id = 3) const uint M = 16;
layout(constant_id = 4) const uint N = 16;
layout(constant_id = 5) const uint K = 16;
layout(constant_id = 6) const uint SUBS_R = 2;
layout(constant_id = 7) const uint SUBS_O = 2;
layout(constant_id = 8) const bool SPREAD = false;

layout(push_constant) uniform Push { pm_push_coop push; };
layout(std430, binding = 0) readonly buffer Blocks { uvec4 blocks[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
#define W_QUANTS_BINDING 2
#define W_SCALES_BINDING 3
#include "types.glsl"
#include "signed.glsl"
layout(std430, binding = 4) readonly buffer Bias { float bias[]; };
layout(std430, binding = 5) readonly buffer Residual { float residual[]; };
layout(std430, binding = 6) readonly buffer Rows { uint head_n_row, head_n_out; };
layout(std430, binding = 7) readonly buffer Scale { float w_scale_all[]; };

const uint MR = TILE_R / M / SUBS_R, MO = TILE_O / N / SUBS_O;
const uint SPAN = SIGNED_SPAN, N_SPAN = 32 / SPAN;
const bool SPREADS = SPREAD && N_SPAN == 2;
const uint N_K = (SPREADS ? 32 : SPAN) / K; // products of matrices a span
/* In uvec2, of eight columns; a row has two more, so that banks are spread. */
const uint X_BLOCK = SPREADS ? 6 : 4, X_STRIDE = 2 * X_BLOCK + 2, W_STRIDE = 10;
const uint W_CHUNKS = 64 / W_CHUNK;
const uint X_TURNS = TILE_R * 4 / WG_SIZE, W_TURNS = TILE_O * W_CHUNKS / WG_SIZE;

shared uvec2 x_tile[TILE_R * X_STRIDE];
shared uvec2 w_tile[TILE_O * W_STRIDE];
shared float x_scale[2 * TILE_R], w_unit[2 * N_SPAN * TILE_O];
#ifdef SIGNED_OFFSET
shared float x_sum[2 * N_SPAN * TILE_R], w_off[2 * N_SPAN * TILE_O];
#endif
shared float y_tile[SUBS_R * SUBS_O * M * N];

#define SUMS coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>
#define DOTS coopmat<int, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>

uint n_r, first_r, first_o, n_block;
uvec4 x_next[X_TURNS];
vec3 tail_next; // of the block of a row of x that this invocation sees to
w_raw w_next[W_TURNS];

/* Half a block of a row of the tile: of a row four invocations fetch two blocks. */
uint x_part(uint turn) {
    return turn * WG_SIZE + gl_LocalInvocationIndex;
}

uint w_part(uint turn) {
    return turn * WG_SIZE + gl_LocalInvocationIndex;
}

/* Past the last row, output or block the last is taken: its scales are zero, or nothing is
 * written. */
uint x_at(uint row, uint block) {
    return min(first_r + row, n_r - 1) * 3 * n_block + min(block, n_block - 1);
}

void fetch(uint block) {
    [[unroll]] for (uint t = 0; t < X_TURNS; t++) {
        uint part = x_part(t);
        x_next[t] = blocks[x_at(part / 4, block + part % 2) + part / 2 % 2 * n_block];
    }
    uint row = gl_LocalInvocationIndex / 2, mine = block + gl_LocalInvocationIndex % 2;
    tail_next = vec3(0.0);
    if (row < TILE_R && mine < n_block)
        tail_next = uintBitsToFloat(blocks[x_at(row, mine) + 2 * n_block].xyz);
    [[unroll]] for (uint t = 0; t < W_TURNS; t++) {
        uint part = w_part(t), chunk = block * 32 / W_CHUNK + part % W_CHUNKS;
        w_next[t] = w_load(min(first_o + part / W_CHUNKS, push.n_row - 1),
                           min(chunk, push.n_chunk - 1), push.n_chunk, push.n_scale);
    }
}

void put_x() {
    [[unroll]] for (uint t = 0; t < X_TURNS; t++) {
        uint part = x_part(t), half_n = part / 2 % 2;
        uint at = part / 4 * X_STRIDE + part % 2 * X_BLOCK + half_n * (X_BLOCK - 2);
        x_tile[at] = x_next[t].xy;
        x_tile[at + 1] = x_next[t].zw;
    }
    uint row = gl_LocalInvocationIndex / 2, mine = gl_LocalInvocationIndex % 2;
    if (row >= TILE_R)
        return;
    x_scale[mine * TILE_R + row] = tail_next.x;
#ifdef SIGNED_OFFSET
    if (N_SPAN == 1) {
        x_sum[mine * TILE_R + row] = tail_next.y + tail_next.z;
    } else {
        x_sum[mine * 2 * TILE_R + row] = tail_next.y;
        x_sum[(mine * 2 + 1) * TILE_R + row] = tail_next.z;
    }
#endif
}

/* Scales of columns past the last are not zero here: those of x are. */
void put_w() {
    [[unroll]] for (uint t = 0; t < W_TURNS; t++) {
        uint o = w_part(t) / W_CHUNKS, chunk = w_part(t) % W_CHUNKS;
        w_raw raw = w_next[t];
        [[unroll]] for (uint e = 0; e < W_CHUNK; e += 8)
            w_tile[o * W_STRIDE + (chunk * W_CHUNK + e) / 8] =
                uvec2(w_signed(raw, e), w_signed(raw, e + 4));
        [[unroll]] for (uint e = 0; e < W_CHUNK; e += SPAN) {
            uint c = chunk * W_CHUNK + e, at = c / SPAN * TILE_O + o;
            if (c % SPAN == 0)
                w_unit[at] = w_scale(raw, e);
#ifdef SIGNED_OFFSET
            w_off[at] = w_offset(raw, e);
#endif
        }
    }
}

float epilogue(float sum, uint r, uint o) {
    if ((push.options & 4u) != 0u)
        sum *= w_scale_all[0];
    if ((push.options & 1u) != 0u)
        sum += bias[o];
    if ((push.options & 2u) != 0u)
        sum += residual[r * push.n_out + o];
    return sum;
}

/* A matrix of y from y_tile, where its subgroup has put it. */
void write_y(uint from, uint tile_r, uint tile_o) {
    [[dont_unroll]] for (uint i = gl_SubgroupInvocationID; i < M * N; i += gl_SubgroupSize) {
        uint r = first_r + tile_r + i / N, o = first_o + tile_o + i % N;
        if (r < n_r && o < push.n_row)
            y[r * push.n_out + push.first_row + o] = epilogue(y_tile[from + i], r,
                                                              push.first_row + o);
    }
}

void main() {
    n_r = push.outs == 0 ? head_n_row : head_n_out;
    first_r = gl_WorkGroupID.y * TILE_R;
    first_o = (gl_WorkGroupID.z * gl_NumWorkGroups.x + gl_WorkGroupID.x) * TILE_O;
    n_block = push.n_in / 32;
    uint my_r = gl_SubgroupID / SUBS_O * MR * M, my_o = gl_SubgroupID % SUBS_O * MO * N;
    if (first_o >= push.n_row)
        return;
    if (SPREADS)
        for (uint i = gl_LocalInvocationIndex; i < 4 * TILE_R; i += WG_SIZE)
            x_tile[i / 4 * X_STRIDE + i / 2 % 2 * X_BLOCK + 2 + i % 2] = uvec2(0u);
    SUMS sums[MR * MO];
    [[unroll]] for (uint i = 0; i < MR * MO; i++)
        sums[i] = SUMS(0.0);
    fetch(0);
    [[dont_unroll]] for (uint block = 0; block < n_block; block += 2) {
        barrier();
        put_x();
        put_w();
        barrier();
        if (block + 2 < n_block)
            fetch(block + 2);
        [[dont_unroll]] for (uint part = 0; part < 2 * N_SPAN; part++) {
            uint x_first = SPREADS ? part / 2 * X_BLOCK + part % 2 * 2 : part * SPAN / 8;
            uint w_first = SPREADS ? part / 2 * 4 : part * SPAN / 8;
            coopmat<int8_t, gl_ScopeSubgroup, M, K, gl_MatrixUseA> a[MR * N_K];
            SUMS x_units[MR];
#ifdef SIGNED_OFFSET
            SUMS x_sums[MR];
#endif
            [[unroll]] for (uint i = 0; i < MR; i++) {
                uint r = my_r + i * M;
                [[unroll]] for (uint k = 0; k < N_K; k++)
                    coopMatLoad(a[i * N_K + k], x_tile, r * X_STRIDE + x_first + k * K / 8,
                                X_STRIDE, gl_CooperativeMatrixLayoutRowMajor);
                coopMatLoad(x_units[i], x_scale, part / N_SPAN * TILE_R + r, 0,
                            gl_CooperativeMatrixLayoutColumnMajor);
#ifdef SIGNED_OFFSET
                coopMatLoad(x_sums[i], x_sum, part * TILE_R + r, 0,
                            gl_CooperativeMatrixLayoutColumnMajor);
#endif
            }
            [[unroll]] for (uint j = 0; j < MO; j++) {
                uint o = my_o + j * N;
                coopmat<int8_t, gl_ScopeSubgroup, K, N, gl_MatrixUseB> b[N_K];
                SUMS unit;
                [[unroll]] for (uint k = 0; k < N_K; k++)
                    coopMatLoad(b[k], w_tile, o * W_STRIDE + w_first + k * K / 8, W_STRIDE,
                                gl_CooperativeMatrixLayoutColumnMajor);
                coopMatLoad(unit, w_unit, part * TILE_O + o, 0, gl_CooperativeMatrixLayoutRowMajor);
#ifdef SIGNED_OFFSET
                SUMS off;
                coopMatLoad(off, w_off, part * TILE_O + o, 0, gl_CooperativeMatrixLayoutRowMajor);
#endif
                [[unroll]] for (uint i = 0; i < MR; i++) {
                    DOTS dots = DOTS(0);
                    [[unroll]] for (uint k = 0; k < N_K; k++)
                        dots = coopMatMulAdd(a[i * N_K + k], b[k], dots);
                    sums[j * MR + i] += SUMS(dots) * x_units[i] * unit;
#ifdef SIGNED_OFFSET
                    sums[j * MR + i] += x_sums[i] * off;
#endif
                }
            }
        }
    }
    /* What is unrolled is small, or compilers leave it, and the sums go to memory. */
    uint from = gl_SubgroupID * M * N;
    [[dont_unroll]] for (uint at = 0; at < MR * MO; at++) {
        subgroupBarrier();
        [[unroll]] for (uint i = 0; i < MR * MO; i++)
            if (i == at)
                coopMatStore(sums[i], y_tile, from, N, gl_CooperativeMatrixLayoutRowMajor);
        subgroupBarrier();
        write_y(from, my_r + at % MR * M, my_o + at / MR * N);
    }
}
