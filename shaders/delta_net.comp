/* delta_net.comp: M = g M, M += k (beta (v - M^T k))^T, y = M^T q / sqrt(head_dim), from row to row
 * shape   qk [rows, 2 * n_head_k * head_dim] f32   v, y [rows, n_head * head_dim]   b, a [rows,
 *         n_head]   decay [n_head]   state [sequences, n_head * head_dim values, head_dim keys]
 * grid    x: WG_SIZE / N_LANE columns of values, of each of which N_LANE invocations keep eight
 *         elements of the state; y: runs
 * defines none   spec 0 WG_SIZE, 1 HEAD_DIM, 2 N_HEAD, 3 N_HEAD_K, 4 N_LANE, 5 TILED   accum f32
 * checked tests row delta_net against cpu_delta_net, NMSE 1e-9
 * source  arXiv:2412.06464 eq. 10 */
#version 450
#extension GL_GOOGLE_include_directive : require
#define PM_GLSL
#include "params.h"

layout(local_size_x_id = 0) in;
layout(constant_id = 0) const uint WG_SIZE = 64;
layout(constant_id = 1) const uint HEAD_DIM = 1;
layout(constant_id = 2) const uint N_HEAD = 1;
layout(constant_id = 3) const uint N_HEAD_K = 1;
layout(constant_id = 4) const uint N_LANE = 1;
layout(constant_id = 5) const uint TILED = 0;

layout(std430, binding = 0) readonly buffer QK { float qk[]; };
layout(std430, binding = 0) readonly buffer QK4 { vec4 qk4[]; };
layout(std430, binding = 1) writeonly buffer Y { float y[]; };
layout(std430, binding = 2) readonly buffer V { float v[]; };
layout(std430, binding = 3) readonly buffer B { float bs[]; };
layout(std430, binding = 4) readonly buffer A { float as[]; };
layout(std430, binding = 5) readonly buffer Decay { float decay[]; };
layout(std430, binding = 6) buffer State { float state[]; };
layout(std430, binding = 6) buffer State4 { vec4 state4[]; };
layout(std430, binding = 7) readonly buffer Rows {
    pm_step_head head;
    pm_step_row rows[];
};
#define HAS_LANES
#include "recurrent.glsl"

const bool FOURS = HEAD_DIM % 4 == 0;

/* Four elements of a head that begins at `at`. */
vec4 load(uint at, uint s) {
    return LOAD_FOUR(qk, FOURS, at + s, s, HEAD_DIM);
}

void main() {
    const uint N_COL = N_HEAD * HEAD_DIM, N_COLUMN = WG_SIZE / N_LANE;
    uint me = gl_LocalInvocationIndex, first = run_first(gl_WorkGroupID.y);
    uint end = first + run_length(first), lane = me % N_LANE, s = 8 * lane;
    bool mine = gl_WorkGroupID.x * N_COLUMN + me / N_LANE < N_COL;
    uint c = min(gl_WorkGroupID.x * N_COLUMN + me / N_LANE, N_COL - 1), h = c / HEAD_DIM;
    uint h_k = TILED != 0 ? h % N_HEAD_K : h / (N_HEAD / N_HEAD_K);
    uint at = (rows[first].seq * N_COL + c) * HEAD_DIM + s;
    vec4 m0 = LOAD_STATE(FOURS, at, s, HEAD_DIM, rows[first].pos);
    vec4 m1 = LOAD_STATE(FOURS, at + 4, s + 4, HEAD_DIM, rows[first].pos);
    for (uint r = first; r < end; r++) {
        uint q_at = (2 * r * N_HEAD_K + h_k) * HEAD_DIM, k_at = q_at + N_HEAD_K * HEAD_DIM;
        vec4 q0 = load(q_at, s), q1 = load(q_at, s + 4);
        vec4 k0 = load(k_at, s), k1 = load(k_at, s + 4);
        /* What M^T q will be follows from what it was. */
        vec4 shares = vec4(dot(k0, m0) + dot(k1, m1), dot(q0, m0) + dot(q1, m1),
                           dot(q0, k0) + dot(q1, k1), 0.0);
        vec4 sums = lanes_add(shares, r);
        float g = exp(decay[h] * softplus(as[r * N_HEAD + h]));
        float delta = sigmoid(bs[r * N_HEAD + h]) * (v[r * N_COL + c] - g * sums.x);
        m0 = g * m0 + delta * k0;
        m1 = g * m1 + delta * k1;
        if (lane == 0 && mine)
            y[r * N_COL + c] = (g * sums.y + delta * sums.z) / sqrt(float(HEAD_DIM));
    }
    if (mine) {
        STORE_STATE(FOURS, at, s, HEAD_DIM, m0)
        STORE_STATE(FOURS, at + 4, s + 4, HEAD_DIM, m1)
    }
}
