/* ssm_scan.comp: h = h * exp(dt * a) + dt * x * B, y = h C + d * x, from row to row; dt through
 * softplus
 * shape   HEADS: x is [rows, n_col + 2 * n_group * n_state] f32, B and C behind its columns; dt
 *         [rows, n_head], a, d [n_head]   else: x, dt [rows, n_col]   bc [rows, 2 * n_state]   a
 *         [n_col, n_state]   d [n_col]   y [rows, n_col]   state [sequences, n_col, n_state]
 * grid    x: WG_SIZE / N_LANE columns, of each of which N_LANE invocations keep four values of the
 *         state; y: runs
 * defines HEADS   spec 0 WG_SIZE, 1 N_COL, 2 N_STATE, 3 N_LANE, 4 A_STRIDE, 5 N_HEAD,
 *         6 N_GROUP   accum f32
 * checked tests rows ssm_scan, ssm2_scan against cpu_ssm_scan, cpu_ssm2_scan, NMSE 1e-9
 * source  arXiv:2312.00752 alg. 2; arXiv:2405.21060 sec. 6 */
#version 450
#extension GL_GOOGLE_include_directive : require
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 1;
layout(constant_id = 2) const uint N_STATE = 1;
layout(constant_id = 3) const uint N_LANE = 1;
layout(constant_id = 4) const uint A_STRIDE = 1;
layout(constant_id = 5) const uint N_HEAD = 1;
layout(constant_id = 6) const uint N_GROUP = 1;

layout(std430, binding = 0) readonly buffer X { float x[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
layout(std430, binding = 2) readonly buffer Dt { float dts[]; };
layout(std430, binding = 4) readonly buffer A { float a[]; };
layout(std430, binding = 4) readonly buffer A4 { vec4 a4[]; };
layout(std430, binding = 5) readonly buffer D { float d[]; };
layout(std430, binding = 6) buffer State { float state[]; };
layout(std430, binding = 6) buffer State4 { vec4 state4[]; };
layout(std430, binding = 7) readonly buffer Rows {
    pm_step_head head;
    pm_step_row rows[];
};
#ifdef HEADS
layout(std430, binding = 0) readonly buffer BC { float bc[]; };
layout(std430, binding = 0) readonly buffer BC4 { vec4 bc4[]; };
const uint X_STRIDE = N_COL + 2 * N_GROUP * N_STATE, BC_STRIDE = X_STRIDE;
const uint C_OFFSET = N_GROUP * N_STATE;
const bool BC_FOURS = N_STATE % 4 == 0 && N_COL % 4 == 0;
#else
layout(std430, binding = 3) readonly buffer BC { float bc[]; };
layout(std430, binding = 3) readonly buffer BC4 { vec4 bc4[]; };
const uint X_STRIDE = N_COL, BC_STRIDE = 2 * N_STATE, C_OFFSET = N_STATE;
const bool BC_FOURS = N_STATE % 4 == 0;
#endif
const bool FOURS = N_STATE % 4 == 0;
#include "recurrent.glsl"

/* TILE rows are summed up over the lanes together. */
const uint TILE = 16, N_COLUMN = WG_SIZE / N_LANE;
shared float parts[TILE * WG_SIZE];

/* Four values of B or C, which begin at `at`. */
vec4 load_bc(uint at, uint s) {
    return LOAD_FOUR(bc, BC_FOURS, at + s, s, N_STATE);
}

uint head_of(uint c) {
    return c / (N_COL / N_HEAD);
}

float dt_of(uint r, uint c) {
#ifdef HEADS
    return softplus(dts[r * N_HEAD + head_of(c)]);
#else
    return softplus(dts[r * N_COL + c]);
#endif
}

vec4 load_a(uint c, uint s) {
#ifdef HEADS
    return vec4(a[head_of(c)]);
#else
    return LOAD_FOUR(a, FOURS, c * A_STRIDE + s, s, N_STATE);
#endif
}

/* Columns of rows [r, r + n): the sums over the lanes. */
void store_rows(uint r, uint n, uint c0) {
    for (uint i = gl_LocalInvocationIndex; i < n * N_COLUMN; i += WG_SIZE) {
        uint row = i / N_COLUMN, c = c0 + i % N_COLUMN, at = row * WG_SIZE + i % N_COLUMN * N_LANE;
        if (c >= N_COL)
            continue;
        float sum = 0.0;
        for (uint lane = 0; lane < N_LANE; lane++)
            sum += parts[at + lane];
#ifdef HEADS
        float skip = d[head_of(c)];
#else
        float skip = d[c];
#endif
        y[(r + row) * N_COL + c] = sum + skip * x[(r + row) * X_STRIDE + c];
    }
}

void main() {
    uint me = gl_LocalInvocationIndex, first = run_first(gl_WorkGroupID.y);
    uint end = first + run_length(first), c0 = gl_WorkGroupID.x * N_COLUMN;
    bool mine = c0 + me / N_LANE < N_COL;
    uint c = min(c0 + me / N_LANE, N_COL - 1), s = me % N_LANE * 4;
    uint at = (rows[first].seq * N_COL + c) * N_STATE + s;
    vec4 h = LOAD_STATE(FOURS, at, s, N_STATE, rows[first].pos), decay = load_a(c, s);
#ifdef HEADS
    uint b0 = N_COL + head_of(c) / (N_HEAD / N_GROUP) * N_STATE;
#else
    uint b0 = 0;
#endif
    for (uint r = first; r < end; r += TILE) {
        uint n = min(TILE, end - r);
        for (uint i = 0; i < n; i++) {
            float dt = dt_of(r + i, c), dx = dt * x[(r + i) * X_STRIDE + c];
            uint b = (r + i) * BC_STRIDE + b0;
#ifdef HEADS
            h = h * exp(dt * decay.x) + dx * load_bc(b, s);
#else
            h = h * exp(dt * decay) + dx * load_bc(b, s);
#endif
            parts[i * WG_SIZE + me] = dot(h, load_bc(b + C_OFFSET, s));
        }
        barrier();
        store_rows(r, n, c0);
        barrier();
    }
    if (mine)
        STORE_STATE(FOURS, at, s, N_STATE, h)
}
