/* wkv7.comp: M = M diag(exp(-0.606531 sigmoid(w))) + v k^T - (M kk)(kk a)^T, y = M r, row by row
 * shape   r, w, k, v, y [rows, n_col] f32   kka [rows, 2 * n_col], kk before kk * a
 *         state [sequences, n_col values, head_dim keys]
 * grid    x: WG_SIZE / N_LANE columns of values, of each of which N_LANE invocations keep eight
 *         elements of the state; y: runs
 * defines none   spec 0 WG_SIZE, 1 N_COL, 2 HEAD_DIM, 3 N_LANE   accum f32
 * checked tests row wkv7 against cpu_wkv7, NMSE 1e-9
 * source  arXiv:2503.14456 eq. 17 */
#version 450
#extension GL_GOOGLE_include_directive : require
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint N_COL = 1;
layout(constant_id = 2) const uint HEAD_DIM = 1;
layout(constant_id = 3) const uint N_LANE = 1;

layout(std430, binding = 0) readonly buffer R { float rs[]; };
layout(std430, binding = 0) readonly buffer R4 { vec4 rs4[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
layout(std430, binding = 2) readonly buffer W { float ws[]; };
layout(std430, binding = 2) readonly buffer W4 { vec4 ws4[]; };
layout(std430, binding = 3) readonly buffer K { float ks[]; };
layout(std430, binding = 3) readonly buffer K4 { vec4 ks4[]; };
layout(std430, binding = 4) readonly buffer V { float v[]; };
layout(std430, binding = 5) readonly buffer KKA { float kka[]; };
layout(std430, binding = 5) readonly buffer KKA4 { vec4 kka4[]; };
layout(std430, binding = 6) buffer State { float state[]; };
layout(std430, binding = 6) buffer State4 { vec4 state4[]; };
layout(std430, binding = 7) readonly buffer Rows {
    pm_step_head head;
    pm_step_row rows[];
};
#define HAS_LANES
#include "recurrent.glsl"

const bool FOURS = HEAD_DIM % 4 == 0;

/* Four keys of a head. */
struct keys {
    vec4 r, w, k, kk, ka;
};

keys load(uint row, uint h, uint s) {
    uint at = row * N_COL + h * HEAD_DIM + s, at_kk = at + row * N_COL;
    vec4 w = LOAD_FOUR(ws, FOURS, at, s, HEAD_DIM);
    return keys(LOAD_FOUR(rs, FOURS, at, s, HEAD_DIM),
                exp(-0.606531 / (1.0 + exp(-w))), LOAD_FOUR(ks, FOURS, at, s, HEAD_DIM),
                LOAD_FOUR(kka, FOURS, at_kk, s, HEAD_DIM),
                LOAD_FOUR(kka, FOURS, at_kk + N_COL, s, HEAD_DIM));
}

/* Shares of M kk, of M diag(w) r, of k r, and of (kk a) r. */
vec4 shares(keys at, vec4 m) {
    return vec4(dot(at.kk, m), dot(at.w * m, at.r), dot(at.k, at.r), dot(at.ka, at.r));
}

void main() {
    const uint N_COLUMN = WG_SIZE / N_LANE;
    uint me = gl_LocalInvocationIndex, first = run_first(gl_WorkGroupID.y);
    uint end = first + run_length(first), lane = me % N_LANE, s = 8 * lane;
    bool mine = gl_WorkGroupID.x * N_COLUMN + me / N_LANE < N_COL;
    uint c = min(gl_WorkGroupID.x * N_COLUMN + me / N_LANE, N_COL - 1), h = c / HEAD_DIM;
    uint at = (rows[first].seq * N_COL + c) * HEAD_DIM + s;
    vec4 m0 = LOAD_STATE(FOURS, at, s, HEAD_DIM, rows[first].pos);
    vec4 m1 = LOAD_STATE(FOURS, at + 4, s + 4, HEAD_DIM, rows[first].pos);
    for (uint r = first; r < end; r++) {
        keys a = load(r, h, s), b = load(r, h, s + 4);
        vec4 sums = lanes_add(shares(a, m0) + shares(b, m1), r);
        float value = v[r * N_COL + c];
        m0 = m0 * a.w + value * a.k - sums.x * a.ka;
        m1 = m1 * b.w + value * b.k - sums.x * b.ka;
        if (lane == 0 && mine)
            y[r * N_COL + c] = sums.y + value * sums.z - sums.x * sums.w;
    }
    if (mine) {
        STORE_STATE(FOURS, at, s, HEAD_DIM, m0)
        STORE_STATE(FOURS, at + 4, s + 4, HEAD_DIM, m1)
    }
}
